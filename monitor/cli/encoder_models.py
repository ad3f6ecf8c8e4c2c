"""`driftline encoder list | pull | export | verify | bench`: which models there are, and whether they are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from monitor.cli.options import Failure, config_option, config_or_defaults, load_encoder


@click.command("list")
@config_option
@click.option(
    "--directory",
    "directories",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Look here for exported folders too: the folder itself and those in it; repeat it.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def listing(context: click.Context, config_path: Path, directories: tuple[Path, ...], as_json: bool) -> None:
    """List the encoders that can be used here: built in, pulled, exported, and what open_clip knows.

    \b
    Example:
      driftline encoder list
      driftline encoder list --directory /models --json | jq '.open_clip | keys'
    """
    from monitor.embed import encoders
    from monitor.embed.available import available

    config = config_or_defaults(context, config_path)
    try:
        found = available(config.encoder, directories)
    except encoders.EncoderError as error:
        raise Failure(str(error)) from None
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    click.echo("built in (encoder.builtin)")
    for row in found["builtin"]:
        click.echo(f"  {row['name']:<16}{row['description']}")
    if directories:
        click.echo("exported (encoder.onnx.directory)")
        for row in found["exported"]:
            click.echo(f"  {row['directory']}  {row.get('error') or row['model'] + ', ' + row['precision']}")
    click.echo(f"pulled to {found['cache']} (encoder.open_clip)")
    for row in found["pulled"]:
        click.echo(f"  {row['name']}  {row['bytes'] / 1e6:.1f} MB, licence {row['licence'] or 'not stated'}")
    if found["open_clip"] is None:
        click.echo(f"open_clip models: {found['open_clip_absent']}")
        return
    click.echo("open_clip architectures and their tags (`driftline encoder pull MODEL TAG`)")
    for name, row in found["open_clip"].items():
        note = "" if row["exports"] else "  [its tokenizer or text tower runs on torch alone]"
        click.echo(f"  {name}: {', '.join(row['tags']) or 'no published weights'}{note}")


@click.command()
@config_option
@click.argument("model")
@click.argument("pretrained")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to.  [default: within encoder.cache]",
)
@click.option("--offline", is_flag=True, help="Fetch nothing: only say whether it is there (also by HF_HUB_OFFLINE).")
@click.pass_context
def pull(
    context: click.Context, config_path: Path, model: str, pretrained: str, out: Path | None, offline: bool
) -> None:
    """Fetch the PRETRAINED weights of an open_clip MODEL, with its tokenizer where it has one of its own.

    Sha256, size, source and licence are recorded in pulled.json beside the weights and checked whenever they are used.
    Interrupted, it goes on where it stopped. The hub is the one that HF_ENDPOINT names.

    \b
    Example:
      driftline encoder pull ViT-B-32 laion2b_s34b_b79k
      driftline encoder pull ViT-B-32 laion2b_s34b_b79k --out /models/b32
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from monitor.embed import checkpoints
    from monitor.embed.encoders import EncoderError

    config = config_or_defaults(context, config_path)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as shown:

        def progress(name: str) -> Any:
            task = shown.add_task(name, total=None)
            return lambda received, total: shown.update(task, completed=received, total=total)

        try:
            folder = out or checkpoints.folder_of(checkpoints.cache_folder(config.encoder.cache), model, pretrained)
            record, fetched = checkpoints.pull(
                model, pretrained, folder, offline=offline or checkpoints.is_offline(), progress=progress
            )
        except EncoderError as error:
            raise Failure(str(error)) from None
        except OSError as error:
            raise Failure(f"{folder} cannot be written: {error.strerror or error}; choose another folder") from None
    click.echo(f"{'wrote' if fetched else 'already in'} {folder}: {model}/{pretrained}")
    for name, file in record.files.items():
        click.echo(f"  {name}  {file.bytes / 1e6:.1f} MB  sha256:{file.sha256}  {file.source}")
    click.echo(f"  licence {record.licence or 'not stated by the hub; look there before you use it'}")
    where = pretrained if out is None else str((folder / record.weights).absolute())
    click.echo(f"use it with:\nencoder:\n  open_clip: {model}/{where}")


@click.command()
@config_option
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
@click.option("--force", is_flag=True, help="Keep the folder although it is too far from torch.")
@click.pass_context
def export(
    context: click.Context,
    config_path: Path,
    model: str,
    pretrained: str,
    out: Path,
    int8: bool,
    probe_files: tuple[Path, ...],
    force: bool,
) -> None:
    """Turn an open_clip MODEL with PRETRAINED weights (pulled tag or file) into an ONNX pair that needs no torch.

    Every probe's vector must have a cosine of at least 0.999 to torch's, with --int8 at least 0.99; else nothing is
    written and the figure is told.

    \b
    Example:
      driftline encoder export ViT-B-32 laion2b_s34b_b79k --out clip-b32 --int8
    """
    from rich.console import Console

    from monitor.embed import export as exporting
    from monitor.embed.encoders import EncoderError
    from monitor.embed.images import Missing, decode

    config = config_or_defaults(context, config_path)
    probes = []
    for path in probe_files:
        decoded = decode(path.read_bytes(), 50_000_000)
        if isinstance(decoded, Missing):
            raise Failure(f"--probe {path}: {decoded.reason}; give an image file")
        probes.append(decoded.image)
    try:
        with Console(stderr=True).status(f"exporting {model}"):
            done = exporting.export(
                model, pretrained, out, int8=int8, probes=probes, cache=config.encoder.cache, force=force
            )
    except EncoderError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{out} cannot be written: {error.strerror or error}; choose another --out") from None
    parity = done.parity
    click.echo(f"wrote {done.directory} ({done.megabytes:.1f} MB): {done.identity}")
    click.echo(
        f"cosine to torch: images min {parity.image_min:.6f}, mean {parity.image_mean:.6f} (n = {parity.images}); "
        f"texts min {parity.text_min:.6f}, mean {parity.text_mean:.6f} (n = {parity.texts})"
    )
    click.echo(f"use it with:\nencoder:\n  onnx:\n    directory: {done.directory}")


@click.command()
@config_option
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.pass_context
def verify(context: click.Context, config_path: Path, folder: Path | None) -> None:
    """Check the configured encoder, or the one in FOLDER (exported or pulled): its files and what it gives.

    Looked at are the sha256 of every file; that images and texts become finite unit vectors which are the same alone
    and together; and, in folders that `driftline encoder export` wrote, that they are those of the export. Exit code 1,
    with what is wrong, where they are not.

    \b
    Example:
      driftline encoder verify --config driftline.yaml
      driftline encoder verify /models/clip-b32
    """
    from monitor.config.inputs import Encoder as Settings
    from monitor.embed import checkpoints
    from monitor.embed import verify as verifying
    from monitor.embed.encoders import EncoderError

    config = config_or_defaults(context, config_path)
    if folder is not None:
        try:
            record = checkpoints.record_of(folder)
        except EncoderError as error:
            raise Failure(str(error)) from None
        weights = (
            {} if record is None else {"model": record.model, "pretrained": str((folder / record.weights).absolute())}
        )
        settings = {"open_clip": weights} if weights else {"onnx": {"directory": str(folder)}}
        config = config.model_copy(update={"encoder": Settings.model_validate(settings)})
    found = load_encoder(config)
    right, wrong = verifying.verify(found, verifying.record_of(found))
    click.echo(found.identity)
    for text in right:
        click.echo(f"ok     {text}")
    for text in wrong:
        click.echo(f"wrong  {text}")
    if wrong:
        raise Failure(f"{len(wrong)} of {len(right) + len(wrong)} checks failed")


@click.command()
@config_option
@click.option(
    "--seconds", type=click.FloatRange(0.1, 600), default=10.0, show_default=True, help="How long to measure."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def bench(context: click.Context, config_path: Path, seconds: float, as_json: bool) -> None:
    """Measure the configured encoder: images and texts per second, and per second of a processor.

    The images are drawn pages, decoded already; their preprocessing counts.

    \b
    Example:
      driftline encoder bench --config driftline.yaml --seconds 20
    """
    from monitor.embed.speed import measure_speed

    found = load_encoder(config_or_defaults(context, config_path))
    speeds = dict(zip(("images", "texts"), measure_speed(found, seconds), strict=True))
    if as_json:
        figures = {
            kind: {
                "n": speed.inputs,
                "per_second": round(speed.per_second, 2),
                "per_processor_second": round(speed.per_processor_second, 2),
            }
            for kind, speed in speeds.items()
        }
        click.echo(json.dumps({"encoder": found.identity, **figures}))
        return
    click.echo(found.identity)
    for kind, speed in speeds.items():
        click.echo(
            f"{kind:<8}{speed.per_second:.1f} per second, {speed.per_processor_second:.1f} per processor second "
            f"(n = {speed.inputs})"
        )
