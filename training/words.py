"""Made-up text: words of several topics and languages, sentences, names, amounts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Rng = np.random.Generator

TOPICS: dict[str, tuple[str, ...]] = {
    "shipping": ("container", "freight", "delivery", "port", "customs", "carrier", "pallet", "warehouse", "parcel"),
    "medicine": ("patient", "dose", "clinical", "symptom", "treatment", "hospital", "vaccine", "diagnosis", "nurse"),
    "finance": ("revenue", "equity", "interest", "dividend", "asset", "liability", "quarter", "loan", "portfolio"),
    "energy": ("turbine", "solar", "grid", "voltage", "battery", "power", "fuel", "reactor", "pipeline"),
    "farming": ("harvest", "wheat", "soil", "cattle", "irrigation", "seed", "orchard", "tractor", "crop"),
    "law": ("court", "statute", "plaintiff", "clause", "contract", "jurisdiction", "appeal", "section", "evidence"),
    "physics": ("quantum", "energy", "field", "particle", "momentum", "spectrum", "wave", "temperature", "entropy"),
    "biology": ("cell", "protein", "species", "gene", "membrane", "enzyme", "organism", "evolution", "tissue"),
    "software": ("server", "database", "function", "thread", "network", "release", "memory", "client", "module"),
    "travel": ("hotel", "flight", "passport", "itinerary", "luggage", "beach", "museum", "ticket", "journey"),
    "food": ("coffee", "bread", "cheese", "salad", "chicken", "rice", "juice", "soup", "chocolate", "milk"),
    "education": ("student", "lesson", "teacher", "exam", "school", "course", "grade", "library", "university"),
    "building": ("concrete", "beam", "window", "foundation", "brick", "contractor", "roof", "pipe", "scaffold"),
    "history": ("empire", "revolution", "treaty", "soldier", "king", "colony", "battle", "republic", "monument"),
    "sport": ("match", "player", "team", "goal", "season", "coach", "stadium", "league", "champion"),
    "music": ("melody", "violin", "concert", "orchestra", "rhythm", "chorus", "piano", "singer", "album"),
}
LANGUAGES: dict[str, str] = {
    "English": "the of and to in is that for was with as by on are this which from at be an not have or were their "
    "has one all been more when other some these may into only time such its than then two also new first any over",
    "French": "le la les de des du et un une dans pour que qui sur avec par est ont plus sont nous vous cette leur "
    "été même tout fait aussi bien deux peut où après être ainsi sans très année monsieur lettre pays jour",
    "German": "der die das und in von zu den mit sich des auf für ist im dem nicht ein eine als auch es an werden "
    "aus er hat dass sie nach wird bei einer um am sind noch wie einem über so zum Rechnung Straße Gesellschaft",
    "Spanish": "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me "
    "si sin sobre este ya entre cuando todo esta ser son dos también fue había era muy años hasta desde factura",
    "Italian": "di e il la che in un a per è una sono con non si da come anche più ma gli dei nel alla delle dalla "
    "questo stato essere due dopo anni contratto fattura giorno lettera tutto prima loro della sulla pagina",
    "Russian": "и в не на что с по это как из у за от так же для вы бы был его до или она было мы только уже когда "
    "время если году человек также страна работа письмо договор закон история город",
    "Greek": "και το να η του της με που από για την είναι σε των τα στο ο δεν στην θα μια οι ένα τον αυτό στη "
    "χρόνια σχολείο νόμος πόλη ιστορία επιστολή τιμολόγιο",
}
# Runs of letters of a script; what they say does not matter at the size they are drawn at.
SCRIPTS: dict[str, tuple[str, str]] = {
    "arabic": ("Arabic", "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"),
    "devanagari": ("Hindi", "कखगघचछजझटठडढतथदधनपफबभमयरलवशसहािीुेो"),
    "bengali": ("Bengali", "কখগঘচছজঝটঠডঢতথদধনপফবভমযরলশসহািীু"),
    "tamil": ("Tamil", "கஙசஞடணதநபமயரலவழளறனாிீு"),
    "thai": ("Thai", "กขคงจฉชซดตถทธนบปผพฟภมยรลวศสหอาิีุ"),
    "hebrew": ("Hebrew", "אבגדהוזחטיכלמנסעפצקרשת"),
    "georgian": ("Georgian", "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ"),
    "korean": ("Korean", "가나다라마바사아자차카타파하고노도로모보소오조서한국문서영수증계약"),
    "chinese": (
        "Chinese",
        "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后",
    ),
    "japanese": (
        "Japanese",
        "のにはをたがでてとしれさあるいるもするからなことしていやかくと日本国人年大会社東京行中出時間分学生",
    ),
}
FIRST = [
    "Anna",
    "Boris",
    "Clara",
    "David",
    "Elena",
    "Felix",
    "Grace",
    "Hugo",
    "Irene",
    "Jonas",
    "Karin",
    "Luis",
    "Maria",
    "Nadia",
    "Oscar",
    "Paula",
    "Rosa",
    "Simon",
]
LAST = [
    "Archer",
    "Brandt",
    "Costa",
    "Dubois",
    "Ekman",
    "Fischer",
    "Garcia",
    "Hansen",
    "Ivanov",
    "Jansen",
    "Keller",
    "Lopez",
    "Moreau",
    "Novak",
    "Olsen",
    "Rossi",
]
STREETS = ["Mill", "Church", "Station", "Park", "River", "Market", "High", "Garden", "Hill", "Bridge"]
CITIES = [
    "Ashford",
    "Bergen",
    "Calder",
    "Dresden",
    "Elmwood",
    "Fairview",
    "Geneva",
    "Hartley",
    "Ithaca",
    "Jutland",
    "Kingston",
    "Lyon",
    "Malmo",
]
_TOPIC_NAMES = tuple(TOPICS)
_LANGUAGE_WORDS = {name: tuple(text.split()) for name, text in LANGUAGES.items()}


def choose(rng: Rng, values: Sequence[str]) -> str:
    return values[int(rng.integers(len(values)))]


def topic(rng: Rng) -> str:
    return choose(rng, _TOPIC_NAMES)


def language(rng: Rng, scripts: Sequence[str] = ()) -> tuple[str, str]:
    """(language, script); script is '' for Latin, Greek and Cyrillic. English six times of ten."""
    draw = rng.random()
    if draw < 0.6:
        return "English", ""
    if draw < 0.85 or not scripts:
        return choose(rng, tuple(LANGUAGES)), ""
    script = choose(rng, scripts)
    return SCRIPTS[script][0], script


def words(rng: Rng, count: int, about: str = "", tongue: str = "English", script: str = "") -> list[str]:
    """``count`` words of a language, every fourth of a topic where the language is English."""
    if script:
        letters = SCRIPTS[script][1]
        picks, sizes = rng.integers(len(letters), size=count * 6), rng.integers(2, 7, size=count)
        return ["".join(letters[p] for p in picks[i * 6 : i * 6 + int(sizes[i])]) for i in range(count)]
    common = _LANGUAGE_WORDS[tongue]
    found = [common[i] for i in rng.integers(len(common), size=count)]
    if tongue == "English" and about:
        own = TOPICS[about]
        found = [
            own[int(rng.integers(len(own)))] if u < 0.3 else w for u, w in zip(rng.random(count), found, strict=True)
        ]
    return found


def title(rng: Rng, about: str, count: int = 4) -> str:
    own = TOPICS[about]
    return " ".join(own[int(i)].capitalize() for i in rng.integers(len(own), size=count))


def name(rng: Rng) -> str:
    return f"{choose(rng, FIRST)} {choose(rng, LAST)}"


def company(rng: Rng) -> str:
    return f"{choose(rng, LAST)} {choose(rng, ('Ltd', 'Inc.', 'GmbH', '& Sons', 'Trading', 'Group', 'Stores'))}"


def address(rng: Rng) -> tuple[str, str]:
    return (
        f"{int(rng.integers(1, 240))} {choose(rng, STREETS)} Street",
        f"{int(rng.integers(10000, 99999))} {choose(rng, CITIES)}",
    )


def amount(rng: Rng, top: float = 500.0) -> str:
    return f"{rng.random() ** 2 * top + 0.5:,.2f}"


def date(rng: Rng) -> str:
    day, month, year = int(rng.integers(1, 29)), int(rng.integers(1, 13)), int(rng.integers(1995, 2026))
    return (f"{day:02d}/{month:02d}/{year}", f"{year}-{month:02d}-{day:02d}", f"{day}.{month}.{year}")[
        int(rng.integers(3))
    ]
