"""`driftline encoder`."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.encoder_models import bench, export, listing, pull, verify
from monitor.cli.options import Failure, config_option, config_or_defaults, load_encoder


@click.group()
def encoder() -> None:
    """List, fetch, export, check and try encoders.

    \b
    Example:
      driftline encoder info --config driftline.yaml
      driftline encoder embed page.jpg contract.pdf prompt.txt
      driftline encoder pull ViT-B-32 laion2b_s34b_b79k
      driftline encoder export ViT-B-32 laion2b_s34b_b79k --out clip-b32 --int8
    """


@encoder.command()
@config_option
@click.pass_context
def info(context: click.Context, config_path: Path) -> None:
    """Say which encoder is configured; without a configuration file, the built-in one.

    \b
    Example:
      driftline encoder info --config driftline.yaml
    """
    found = load_encoder(config_or_defaults(context, config_path))
    click.echo(found.description)
    click.echo(f"identity      {found.identity}")
    click.echo(f"dimensions    {found.dim}")
    click.echo(f"agreement     {'measured' if found.shared_space else 'not measured: the towers share no space'}")


@encoder.command()
@config_option
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the vector.")
@click.option("--vectors/--no-vectors", default=True, show_default=True, help="With --json: the vectors themselves.")
@click.option("--pages", type=click.IntRange(1, 64), help="Most pages of a PDF.  [default: sampling.parts]")
@click.pass_context
def embed(
    context: click.Context, config_path: Path, files: tuple[Path, ...], as_json: bool, vectors: bool, pages: int | None
) -> None:
    """Embed images, PDFs and text files, as the embed role would: digest of the vector, dimension, conditions.

    A file named *.txt or *.md is a text; of a PDF the pages that the role would choose are embedded. The digest is
    the SHA-256 of the vector as it is stored. A file that cannot be embedded gets its reason, and the exit code is 1.

    \b
    Example:
      driftline encoder embed page.jpg contract.pdf prompt.txt
      driftline encoder embed --json --no-vectors page.jpg | jq .conditions.skew_degrees
    """
    from monitor.cli import embedding

    config = config_or_defaults(context, config_path)
    chosen = load_encoder(config)
    failed = 0
    with embedding.Embedder(config, chosen, pages or config.sampling.parts) as embedder:
        for path in files:
            rows = embedder.rows(path)
            failed += any("missing" in row for row in rows)
            for row in rows:
                if not vectors:
                    row.pop("vector", None)
                click.echo(embedding.as_json(row) if as_json else embedding.as_text(row))
    if failed:
        raise Failure(f"{failed} of {len(files)} files could not be embedded; `missing` says why")


@encoder.command()
@config_option
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--word", "words", multiple=True, help="Compare with this instead of the configured concepts; repeat it.")
@click.option("--top", type=click.IntRange(1, 50), default=5, show_default=True, help="Concepts shown of an image.")
@click.option("--pages", type=click.IntRange(1, 64), help="Most pages of a PDF.  [default: sampling.parts]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def concepts(
    context: click.Context,
    config_path: Path,
    files: tuple[Path, ...],
    words: tuple[str, ...],
    top: int,
    pages: int | None,
    as_json: bool,
) -> None:
    """Show the words nearest to images and PDFs, with their cosines, best first.

    Only the order of the words tells something: how large a cosine is depends on the encoder. It takes an encoder
    whose towers share a space. A file that cannot be embedded gets its reason, and the exit code is 1.

    \b
    Example:
      driftline encoder concepts page.jpg contract.pdf
      driftline encoder concepts --word "a lorry" --word "a bicycle" photo.jpg
    """
    from monitor.cli import embedding
    from monitor.embed.concepts import ConceptBank, with_shipped

    if not all(word.strip() for word in words):
        raise Failure('--word is empty; write what to compare with, as --word "a lorry"')
    for path in files:
        if path.suffix.lower() in embedding.TEXTS:
            raise Failure(f"{path} is a text, concepts are words near an image; give images or PDFs")
    config = config_or_defaults(context, config_path)
    chosen = load_encoder(config)
    try:
        asked = {word: (word,) for word in words} or with_shipped(config.encoder.concepts)
        bank = ConceptBank(chosen, asked, kept=top)
    except ValueError as error:
        raise Failure(str(error)) from None
    failed = 0
    with embedding.Embedder(config, chosen, pages or config.sampling.parts, bank) as embedder:
        for path in files:
            rows = embedder.rows(path)
            failed += any("missing" in row for row in rows)
            for row in rows:
                row.pop("vector", None)
                click.echo(embedding.as_json(row) if as_json else embedding.concepts_as_text(row))
    if failed:
        raise Failure(f"{failed} of {len(files)} files could not be embedded; `missing` says why")


for command in (listing, pull, export, verify, bench):
    encoder.add_command(command)
