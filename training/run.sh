#!/bin/sh
# All steps of training, each of which skips what is on disk already: usage run.sh PYTHON FILES [IMAGES]
# First a usable encoder from a part of everything, in well under an hour; then the whole, in its place.
set -eu
python=$1 files=$2 images=${3:-}
work=.cache/encoder out=.cache/encoder/driftline-mini
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1
data=""
[ -n "$images" ] && [ -f "$images/manifest.csv" ] && data="--data $images"
[ -n "$data" ] || echo "no real images: drawn documents alone"
run() { nice -n 10 "$python" -m "$@"; }
say() { echo "== $1, $(($(date +%s) - started)) s after the start"; }
started=$(date +%s)

# measure COUNT: the first COUNT files of samples, on two processors
measure() {
  # shellcheck disable=SC2086
  run training.measure --drawn $work/drawn --out $work/measured --files "$1" --share 0 2 $data & first=$!
  # shellcheck disable=SC2086
  run training.measure --drawn $work/drawn --out $work/measured --files "$1" --share 1 2 $data & second=$!
  wait $first
  wait $second
}

# fit RUN TEXT FILES: the layers from the first FILES files of samples, exported
fit() {
  run training.train --measured $work/measured --text "$2" --out "$1" --files "$3"
  run training.export --run "$1" --text "$2" --out $out
}

if [ ! -f $work/run/checkpoint.pt ]; then
  few=$((files < 30 ? files : 30))
  say "a first encoder: 10 shards of documents, $few files of samples"
  run training.shards --folder $work/drawn --shards 10
  run training.teacher --folder $work/teacher
  [ -f $work/text-first/text.onnx ] || run training.distil --teacher $work/teacher --texts $work/none --out $work/text-first
  # shellcheck disable=SC2086
  [ -f $work/filters.npz ] || run training.filters --drawn $work/drawn --out $work/filters.npz $data
  measure $few
  [ -f $out/encoder.json ] || fit $work/run-first $work/text-first $few
  say "$out can be used; the whole goes on"
fi

run training.shards --folder $work/drawn --shards 40
run training.label --folder $work/texts & labels=$!
measure "$files"
wait $labels
[ -f $work/text/text.onnx ] || run training.distil --teacher $work/teacher --texts $work/texts --out $work/text
fit $work/run $work/text "$files"
say "done: $out"
