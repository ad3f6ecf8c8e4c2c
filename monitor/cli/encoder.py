"""`driftline encoder`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from monitor.cli.options import Failure, config_option, read_config

if TYPE_CHECKING:
    from monitor.config.model import Config
    from monitor.embed.encoders import Encoder


@click.group()
def encoder() -> None:
    """Export, inspect and try the encoder.

    \b
    Example:
      driftline encoder info --config driftline.yaml
      driftline encoder embed page.jpg contract.pdf prompt.txt
      driftline encoder concepts page.jpg
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
    found = _load(_configuration(context, config_path))
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

    config = _configuration(context, config_path)
    chosen = _load(config)
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
@click.option("--word", "words", multiple=True, help="Compare with this instead of the shipped concepts; repeat it.")
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
    from monitor.embed.concepts import ConceptBank

    config = _configuration(context, config_path)
    chosen = _load(config)
    try:
        bank = ConceptBank(chosen, {word: (word,) for word in words} or None, kept=top)
    except ValueError as error:
        raise Failure(str(error)) from None
    failed = 0
    with embedding.Embedder(config, chosen, pages or config.sampling.parts, bank) as embedder:
        for path in files:
            if path.suffix.lower() in embedding.TEXTS:
                raise Failure(f"{path} is a text, concepts are words near an image; give images or PDFs")
            rows = embedder.rows(path)
            failed += any("missing" in row for row in rows)
            for row in rows:
                row.pop("vector", None)
                click.echo(embedding.as_json(row) if as_json else embedding.concepts_as_text(row))
    if failed:
        raise Failure(f"{failed} of {len(files)} files could not be embedded; `missing` says why")


@encoder.command()
@click.argument("model")
@click.argument("pretrained")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option("--int8", is_flag=True, help="Quantise the weights to eight bits.")
@click.option(
    "--probe",
    "probe_files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Image for the parity check (repeat for more); default: drawn pages.",
)
def export(model: str, pretrained: str, out: Path, int8: bool, probe_files: tuple[Path, ...]) -> None:
    """Turn an open_clip MODEL with PRETRAINED weights (hub tag or file) into an ONNX pair that needs no torch.

    \b
    Example:
      driftline encoder export ViT-B-32 laion2b_s34b_b79k --out clip-b32 --int8
    """
    from rich.console import Console

    from monitor.embed import export as exporting
    from monitor.embed.encoders import EncoderError
    from monitor.embed.images import Missing, decode

    probes = []
    for path in probe_files:
        decoded = decode(path.read_bytes(), 50_000_000)
        if isinstance(decoded, Missing):
            raise Failure(f"--probe {path}: {decoded.reason}; give an image file")
        probes.append(decoded.image)
    try:
        with Console(stderr=True).status(f"exporting {model}"):
            done = exporting.export(model, pretrained, out, int8=int8, probes=probes)
    except EncoderError as error:
        raise Failure(str(error)) from None
    parity = done.parity
    click.echo(f"wrote {done.directory} ({done.megabytes:.1f} MB): {done.identity}")
    click.echo(
        f"cosine to torch: images min {parity.image_min:.6f}, mean {parity.image_mean:.6f} (n = {parity.images}); "
        f"texts min {parity.text_min:.6f}, mean {parity.text_mean:.6f} (n = {parity.texts})"
    )
    click.echo(f"use it with:\nencoder:\n  onnx:\n    directory: {done.directory}")


def _configuration(context: click.Context, path: Path) -> Config:
    """The configuration file, or the defaults where none was named and none is in the folder."""
    from monitor.config.model import Config

    if context.get_parameter_source("config_path") is ParameterSource.DEFAULT and not path.exists():
        return Config()
    return read_config(path)


def _load(config: Config) -> Encoder:
    from monitor.embed import encoders

    try:
        return encoders.load(config.encoder)
    except encoders.EncoderError as error:
        raise Failure(str(error)) from None
