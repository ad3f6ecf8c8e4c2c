"""Words for every kind of the real images, written before any encoder was scored with them and not changed since."""

from __future__ import annotations

# One set of words per kind; a kind's vector is the mean of its prompts' vectors.
PROMPTS: dict[str, tuple[str, ...]] = {
    "receipts": ("a receipt from a shop with prices and a total", "a till receipt"),
    "olmocr_arxiv_math": ("a page of a mathematics paper with formulas", "equations and proofs on a page"),
    "olmocr_headers_footers": ("a page with a running header and footer", "a report page with header and page number"),
    "olmocr_long_tiny_text": ("a page full of tiny text", "very small dense print"),
    "olmocr_multi_column": ("a page with several columns of text", "a multi-column magazine page"),
    "olmocr_old_scans": ("an old scanned document", "a scan of a historical letter"),
    "olmocr_old_scans_math": ("an old scan of a mathematics book", "a scanned old page with formulas"),
    "olmocr_table_tests": ("a page with a table", "a table of data with rows and columns"),
    "doclaynet_financial_reports": ("a page of a company's financial report", "an annual report with amounts"),
    "doclaynet_government_tenders": ("a government tender document", "a request for proposals"),
    "doclaynet_laws_and_regulations": ("a page of a law or regulation", "legislation with articles and paragraphs"),
    "doclaynet_manuals": ("a page of a user manual", "technical instructions with illustrations"),
    "doclaynet_patents": ("a page of a patent", "a patent with claims or drawings"),
    "doclaynet_scientific_articles": ("a page of a scientific article", "a research paper"),
    "handwritten": ("a handwritten page", "a letter written by hand in ink"),
    "typescripts": ("a typewritten page", "an old typescript from a typewriter"),
    "photographed_docs": (
        "a document photographed on a table with a camera",
        "a photo of a printed page with shadow or creases",
    ),
    "photos_coco": ("a photograph of people, animals or things", "a natural photo of a scene"),
    "math_diagrams": ("a diagram of a mathematics problem", "geometric shapes with labels"),
}

# The same meaning in other words; each must find its partner among all second sentences.
PARAPHRASES: tuple[tuple[str, str], ...] = (
    ("How much did the customer pay in total?", "What is the overall amount the buyer was charged?"),
    ("Extract the invoice number and the date.", "Give me the bill's reference and when it was issued."),
    ("Is the signature on this form missing?", "Check whether nobody signed the form."),
    ("Summarise the contract in three sentences.", "Write a short three-line overview of the agreement."),
    ("What disease do these symptoms suggest?", "Which illness would explain the patient's signs?"),
    ("Translate the letter into German.", "Put this correspondence into the German language."),
    ("Read the text in the photo aloud.", "Say out loud the words shown in the picture."),
    (
        "Which country has the highest population in the chart?",
        "According to the graph, what nation has the most people?",
    ),
    ("Find the area of the shaded triangle.", "Compute how large the dark three-sided region is."),
    ("What colour is the car on the left?", "Name the hue of the leftmost vehicle."),
    ("The receipt is too blurry to read.", "The till slip is out of focus and illegible."),
    ("How many people are standing in the room?", "Count the persons who are on their feet indoors."),
    ("List the ingredients of this recipe.", "What do I need in order to cook this dish?"),
    ("Explain how the engine works.", "Describe the functioning of the motor."),
    ("Which chemical bond is shown in the figure?", "What type of bonding between atoms does the illustration depict?"),
    ("Who composed this piece of music?", "Name the author of the melody."),
    ("Calculate the annual interest on the loan.", "How much yearly interest does the debt cost?"),
    ("The scanned page is upside down.", "The document was digitised with the wrong orientation."),
    (
        "Compare revenue in the last two quarters.",
        "How did sales differ between the two most recent three-month periods?",
    ),
    ("What is the capital of this country?", "Which city is the seat of the nation's government?"),
    ("Where does the train depart from?", "From which station does the railway service leave?"),
    ("Identify the painter of this artwork.", "Which artist made the picture?"),
    ("Does the policy cover water damage?", "Is harm caused by flooding insured?"),
    ("When was the treaty signed?", "On what date did the states conclude the agreement?"),
    ("Convert the table to CSV.", "Turn the rows and columns into comma-separated values."),
    ("What species is this bird?", "Which kind of feathered animal is this?"),
    ("The passport has expired.", "The travel document is no longer valid."),
    ("Fix the bug in this function.", "Repair the error in the code."),
    ("How tall is the building?", "What is the height of the tower block?"),
    ("Classify the email as spam or not.", "Decide whether this message is junk."),
    ("Which planet is closest to the sun?", "What is the innermost world of the solar system?"),
    ("Give the dosage of the medicine.", "How much of the drug should be taken?"),
)
