"""Dashboards in a live Grafana, through grafana-client: what differs, and making it the same.

Only the folder of uid ``driftline`` is touched, and in it only dashboards of this project: others there are named and
left. With ``rules`` the groups of alert rules too; never contact points or the notification policy tree, which is
everybody's. Pushing twice changes nothing the second time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from alerts.grafana import connect
from dashboards.names import DATASOURCE_UID, FOLDER_TITLE, FOLDER_UID

What = Literal["same", "missing", "changed", "extra"]
Kind = Literal["folder", "dashboard", "rules"]
_PAGE: Final = 1000  # dashboards a search returns at a time
_MOST_NAMED: Final = 8  # places named of a dashboard that differs


class PushError(Exception):
    """Grafana could not be asked, or did not take something: what, and what to do."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in Grafana against ours. ``places``: where a changed one differs, as ``panels[3].title``.

    ``hidden``: Grafana answered 403 for a missing one. To a token that is no administrator's it answers so for what
    does not exist as well (Grafana 13 does); a push finds out, and overwrites nothing.
    """

    kind: Kind
    name: str
    what: What
    places: tuple[str, ...] = ()
    version: int = 0  # Grafana's, which a change must name
    hidden: bool = False

    def __str__(self) -> str:
        if self.what == "extra":
            return f"{self.kind} {self.name}: not one of driftline's; left as it is"
        where = f" at {', '.join(self.places)}" if self.places else ""
        hidden = ", or not for this token to see" if self.hidden else ""
        return f"{self.kind} {self.name}: {self.what}{where}{hidden}"


class Grafana:
    """The Grafana at ``url``. Every call raises PushError with a remedy."""

    def __init__(self, url: str, token: str | None, timeout_s: float = 15.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise PushError(f"expected the address of Grafana with http:// or https://, got {url!r}")
        if "@" in urlsplit(url).netloc:
            raise PushError("the address of Grafana has a user in it, which is not used; set dashboards.token instead")
        self.url = url.rstrip("/")
        self._client = connect(url, token, timeout_s)
        from grafana_client.elements import AlertingProvisioning, Dashboard, Folder, Search

        self._folders, self._search = Folder(self._client), Search(self._client)
        self._dashboards = Dashboard(self._client, None)
        self._alerting = AlertingProvisioning(self._client)

    def close(self) -> None:
        self._client.s.close()

    def differences(
        self, documents: Mapping[str, Mapping[str, Any]], groups: Sequence[Mapping[str, Any]] = ()
    ) -> list[Difference]:
        """What there is in Grafana against ``documents`` (uid -> dashboard) and rule ``groups``."""
        folder, hidden = self._found(lambda: self._folders.get_folder(FOLDER_UID), "look for the folder")
        found = [Difference("folder", FOLDER_UID, "missing" if folder is None else "same", hidden=hidden)]
        found += [self._dashboard(uid, document) for uid, document in documents.items()]
        if folder is not None:
            found += [Difference("dashboard", uid, "extra") for uid in self._others(documents)]
        return found + [self._group(group) for group in groups]

    def push(
        self,
        differences: Iterable[Difference],
        documents: Mapping[str, Mapping[str, Any]],
        groups: Sequence[Mapping[str, Any]] = (),
    ) -> Iterator[Difference]:
        """Make what is missing or changed the same as ours, in order; yields each once Grafana has taken it."""
        ours = {group["title"]: group for group in groups}
        for difference in differences:
            if difference.what not in ("missing", "changed"):
                continue
            match difference.kind:
                case "folder":
                    with _told(f"make the folder {FOLDER_UID}", self.url):
                        self._folders.create_folder(FOLDER_TITLE, uid=FOLDER_UID)
                case "dashboard":
                    body = {
                        "dashboard": {**documents[difference.name], "id": None, "version": difference.version},
                        "folderUid": FOLDER_UID,
                        "overwrite": False,  # what somebody saved in between is not lost
                        "message": "driftline dashboards push",
                    }
                    with _told(f"save the dashboard {difference.name}", self.url):
                        self._dashboards.update_dashboard(body)
                case "rules":
                    with _told(f"save the rules {difference.name!r}", self.url):
                        self._alerting.update_rule_group(
                            FOLDER_UID, difference.name, ours[difference.name], disable_provenance=True
                        )
            yield difference

    def _dashboard(self, uid: str, document: Mapping[str, Any]) -> Difference:
        answer, hidden = self._found(lambda: self._dashboards.get_dashboard(uid), f"look for the dashboard {uid}")
        if answer is None:
            return Difference("dashboard", uid, "missing", hidden=hidden)
        try:
            meta, there = answer["meta"], answer["dashboard"]
            folder, version = meta.get("folderUid", ""), int(there.get("version", 0))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise PushError(f"{self.url} answered something that is no dashboard for {uid}") from None
        if folder != FOLDER_UID:
            where = meta.get("folderTitle") or folder or "no folder"
            raise PushError(
                f"a dashboard of uid {uid} is in the folder {where!r}, which is not driftline's; nothing was changed. "
                f"Move it to the folder of uid {FOLDER_UID!r}, or delete it, and push again"
            )
        if meta.get("provisioned"):
            raise PushError(
                f"the dashboard {uid} is provisioned from a file, which Grafana holds against changes; nothing was "
                "changed. Change the files, or take them out of its provisioning to push instead"
            )
        places = _differ(dict(document), there)
        return Difference("dashboard", uid, "changed" if places else "same", tuple(places[:_MOST_NAMED]), version)

    def _others(self, documents: Mapping[str, Any]) -> list[str]:
        """Dashboards in our folder that are not ours. Grafana 9 knows no folder by uid here, so it is looked at."""
        found: list[str] = []
        page = 1
        while True:
            with _told("list the folder", self.url):
                rows = self._search.search_dashboards(type_="dash-db", folder_uids=[FOLDER_UID], limit=_PAGE, page=page)
                found += [row["uid"] for row in rows if row.get("folderUid") == FOLDER_UID]
            if len(rows) < _PAGE:
                return sorted(set(found) - set(documents))
            page += 1

    def _group(self, group: Mapping[str, Any]) -> Difference:
        for rule in group["rules"]:
            uid = rule["uid"]
            there, _ = self._found(partial(self._alerting.get_alertrule, uid), f"look for the rule {uid}")
            if there is not None and there.get("folderUID") != FOLDER_UID:
                raise PushError(
                    f"an alert rule of uid {uid} is in another folder ({there.get('folderUID')!r}); nothing was "
                    "changed. Delete it there and push again"
                )
        title = group["title"]
        doing = f"look for the rules {title!r}"
        there, hidden = self._found(lambda: self._alerting.get_rule_group(FOLDER_UID, title), doing)
        if there is None or not there.get("rules"):
            return Difference("rules", title, "missing", hidden=hidden)
        places = _missing_from(there, dict(group), "")
        return Difference("rules", title, "changed" if places else "same", tuple(places[:_MOST_NAMED]))

    def _found(self, ask: Callable[[], Any], doing: str) -> tuple[Any, bool]:
        """The answer, or None where Grafana says that there is none; and whether it said so by 403."""
        with _told(doing, self.url):
            try:
                return ask(), False
            except Exception as error:
                status, body = getattr(error, "status_code", None), getattr(error, "response", None)
                # Grafana says it in JSON, or (of alert rules) in nothing; a page is somebody else's.
                if status not in (403, 404) or not (isinstance(body, dict) or body == ""):
                    raise
                return None, status == 403


def rule_groups(document: Mapping[str, Any], datasource_uid: str = DATASOURCE_UID) -> list[dict[str, Any]]:
    """The provisioning file of rules as bodies of ``PUT …/folder/:uid/rule-groups/:group``."""
    text = json.dumps(document).replace("$$", "$")  # only files have their dollars doubled
    found = []
    for group in json.loads(text)["groups"]:
        rules = [
            {**rule, "folderUID": FOLDER_UID, "ruleGroup": group["name"], "orgID": group["orgId"]}
            for rule in group["rules"]
        ]
        for rule in rules:
            for part in rule["data"]:
                if part["datasourceUid"] == DATASOURCE_UID:
                    part["datasourceUid"] = datasource_uid
        seconds = int(group["interval"].removesuffix("m")) * 60
        found.append({"title": group["name"], "folderUid": FOLDER_UID, "interval": seconds, "rules": rules})
    return found


def _differ(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Where the dashboards differ. Exact, but for what Grafana itself writes; one that a later Grafana has brought to
    its own schema (which adds keys) is held to contain ours."""
    own = {"id", "version"}
    ours, theirs = ({k: v for k, v in d.items() if k not in own} for d in (ours, theirs))
    migrated = theirs.get("schemaVersion") != ours.get("schemaVersion")
    if migrated:
        own = {"schemaVersion"}
        ours, theirs = ({k: v for k, v in d.items() if k not in own} for d in (ours, theirs))
    missing = _missing_from(theirs, ours, "")
    return missing or ([] if migrated else _missing_from(ours, theirs, ""))


def _missing_from(there: Any, ours: Any, place: str) -> list[str]:
    """Places of ``ours`` that ``there`` has otherwise; keys with nothing in them need not be there."""
    if isinstance(ours, dict) and isinstance(there, dict):
        return [
            found
            for key, value in ours.items()
            for found in (
                _missing_from(there.get(key), value, f"{place}.{key}" if place else str(key))
                if key in there or not _nothing(value)
                else ()
            )
        ]
    if isinstance(ours, list) and isinstance(there, list):
        if len(ours) != len(there):
            return [f"{place} ({len(there)} there, {len(ours)} here)"]
        return [
            found
            for number, (a, b) in enumerate(zip(there, ours, strict=True))
            for found in _missing_from(a, b, f"{place}[{number}]")
        ]
    return [] if there == ours or (_nothing(there) and _nothing(ours)) else [place]


def _nothing(value: Any) -> bool:
    return value is None or value in ({}, [], "")


@contextmanager
def _told(doing: str, url: str) -> Iterator[None]:
    """Turns whatever grafana-client and the library below it raise into one sentence with a remedy."""
    try:
        yield
    except PushError:
        raise
    except Exception as error:  # the client leaks exceptions of its HTTP library
        raise PushError(f"could not {doing}: {_because(error, url)}") from None


def _because(error: Exception, url: str) -> str:
    status = getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    said = response.get("message") if isinstance(response, Mapping) else None
    said = f" ({said})" if said else ""
    match status:
        case 401:
            return f"Grafana knows no such token{said}; set dashboards.token, or its *_FILE variable, to a valid one"
        case 403:
            return (
                f"the token may not do that{said}; give its service account the role Editor, or rights on folders, "
                "dashboards and (with --rules) alert provisioning"
            )
        case 404:
            return f"{url} has no such thing{said}; is it Grafana's address, with its path if it has one?"
        case 409 | 412:
            return (
                f"somebody changed it in the meantime, or its name is taken by another one in the folder{said}; see "
                "`driftline dashboards diff` and push again"
            )
        case int() if status >= 400:
            return f"Grafana answered HTTP {status}{said}"
        case _:
            kind = type(error).__name__
            return f"{url} gave no answer of Grafana's API ({kind}); is it running, and is that its address?"
