"""The parts of Grafana's HTTP API that a push speaks to, in the documented shapes; refuses everything else."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.alerts.parts import Answer, Request

TOKEN = "glsa_secret"


class LiveGrafana:
    """Keeps folders, dashboards (with their folder and version) and rule groups, as Grafana 9 to 13 answer."""

    def __init__(self) -> None:
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.placed: dict[str, str] = {}  # dashboard uid -> folder uid
        self.provisioned: set[str] = set()
        self.groups: dict[tuple[str, str], dict[str, Any]] = {}
        self.wrong: list[str] = []  # requests of another shape
        self.changes: list[str] = []
        self.answer_instead: Answer | None = None
        self.denies = False  # as Grafana 13, which tells only administrators that something does not exist
        self.migrates = False  # as a later Grafana does, which brings dashboards to its own schema

    def __call__(self, request: Request) -> Answer:
        if self.answer_instead is not None:
            return self.answer_instead
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _says(401, message="Invalid API key")
        url = urlsplit(request.path)
        path = url.path.removeprefix("/grafana/api/")
        try:
            return self._answer(request, path.split("/"), parse_qs(url.query))
        except AssertionError as error:
            self.wrong.append(f"{request.method} {request.path}: {error}")
            return _says(400, message=f"bad request data: {error}")

    def put(self, uid: str, title: str, folder: str) -> None:
        """A dashboard that somebody else made."""
        self.dashboards[uid] = {"uid": uid, "title": title, "id": 7, "version": 3, "panels": []}
        self.placed[uid] = folder

    def _answer(self, request: Request, path: list[str], query: Mapping[str, list[str]]) -> Answer:
        match request.method, *path:
            case "GET", "folders", uid:
                if uid not in self.folders:
                    return self._none("folder not found")
                return _says(200, id=1, uid=uid, title=self.folders[uid])
            case "POST", "folders":
                body = request.json
                assert set(body) == {"uid", "title"}
                assert body["uid"] not in self.folders
                self.folders[body["uid"]] = body["title"]
                self.changes.append(f"folder {body['uid']}")
                return _says(200, id=1, **body)
            case "GET", "dashboards", "uid", uid:
                return self._dashboard(uid)
            case "POST", "dashboards", "db":
                return self._save(request.json)
            case "GET", "search":
                assert query["type"] == ["dash-db"]
                rows = [
                    {"uid": uid, "title": d["title"], "type": "dash-db", "folderUid": self.placed[uid]}
                    for uid, d in self.dashboards.items()
                ]
                size, page = int(query["limit"][0]), int(query["page"][0])
                return Answer(body=json.dumps(rows[(page - 1) * size : page * size]).encode())
            case "GET", "v1", "provisioning", "alert-rules", uid:
                found = [rule for group in self.groups.values() for rule in group["rules"] if rule["uid"] == uid]
                return _says(200, **found[0]) if found else Answer(404, b"")
            case "GET", "v1", "provisioning", "folder", folder, "rule-groups", group:
                kept = self.groups.get((folder, unquote(group)))
                return _says(200, **kept) if kept else self._none("rule group does not exist")
            case "PUT", "v1", "provisioning", "folder", folder, "rule-groups", group:
                return self._save_group(request, folder, unquote(group))
        raise AssertionError("no push needs that")

    def _none(self, message: str) -> Answer:
        if self.denies:
            return _says(403, title="Access denied", message="You'll need additional permissions: folders:read")
        return _says(404, message=message, status="not-found")

    def _dashboard(self, uid: str) -> Answer:
        if uid not in self.dashboards:
            return self._none("Dashboard not found")
        folder = self.placed[uid]
        document = copy.deepcopy(self.dashboards[uid])
        if self.migrates:
            document["schemaVersion"] = 42
            for panel in document["panels"]:
                panel["pluginVersion"] = "13.0.0"
        meta = {
            "folderUid": folder,
            "folderTitle": self.folders.get(folder, "General"),
            "provisioned": uid in self.provisioned,
            "version": document["version"],
        }
        return _says(200, dashboard=document, meta=meta)

    def _save(self, body: Any) -> Answer:
        assert set(body) == {"dashboard", "folderUid", "overwrite", "message"}
        assert body["overwrite"] is False
        assert body["folderUid"] in self.folders
        document = body["dashboard"]
        uid = document["uid"]
        assert 0 < len(uid) <= 40
        assert document["id"] is None
        assert isinstance(document["schemaVersion"], int)
        assert document["title"]
        kept = self.dashboards.get(uid, {"version": 0})
        if document["version"] != kept["version"]:
            return _says(412, status="version-mismatch", message="The dashboard has been changed by someone else")
        self.dashboards[uid] = {**document, "id": len(self.dashboards) + 1, "version": kept["version"] + 1}
        self.placed[uid] = body["folderUid"]
        self.changes.append(f"dashboard {uid}")
        return _says(200, id=1, uid=uid, status="success", version=kept["version"] + 1, slug="x", url=f"/d/{uid}/x")

    def _save_group(self, request: Request, folder: str, name: str) -> Answer:
        assert request.headers.get("X-Disable-Provenance") == "true", "rules stay editable in the pages of Grafana"
        body = request.json
        assert set(body) == {"title", "folderUid", "interval", "rules"}
        assert (body["title"], body["folderUid"]) == (name, folder)
        assert isinstance(body["interval"], int)
        assert folder in self.folders
        for rule in body["rules"]:
            assert {"uid", "title", "condition", "data", "noDataState", "execErrState", "for"} <= set(rule)
            assert (rule["folderUID"], rule["ruleGroup"], rule["orgID"]) == (folder, name, 1)
            assert "$$" not in json.dumps(rule), "dollars are doubled in files alone"
            for part in rule["data"]:
                assert {"refId", "relativeTimeRange", "datasourceUid", "model"} <= set(part)
        rules = [{**rule, "id": number, "updated": "2026-01-01T00:00:00Z"} for number, rule in enumerate(body["rules"])]
        self.groups[folder, name] = {**body, "rules": rules}
        self.changes.append(f"rules {name}")
        return _says(200, **body)


def _says(code: int, /, **body: Any) -> Answer:
    return Answer(code, json.dumps(body).encode())
