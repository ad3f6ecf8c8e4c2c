#!/bin/sh
# All steps of training, each of which skips what is on disk already: usage run.sh PYTHON FILES [IMAGES]
set -eu
python=$1 files=$2 images=${3:-}
work=.cache/encoder
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1
data=""
[ -n "$images" ] && [ -f "$images/manifest.csv" ] && data="--data $images"
[ -n "$data" ] || echo "no real images: drawn documents alone"
run() { nice -n 10 "$python" -m "$@"; }

run training.shards --folder $work/drawn --shards 40
run training.teacher --folder $work/teacher
run training.label --folder $work/texts
[ -f $work/text/text.onnx ] || run training.distil --teacher $work/teacher --texts $work/texts --out $work/text
# shellcheck disable=SC2086
[ -f $work/filters.npz ] || run training.filters --drawn $work/drawn --out $work/filters.npz $data
# shellcheck disable=SC2086
{
  run training.measure --drawn $work/drawn --out $work/measured --files "$files" --share 0 2 $data & first=$!
  run training.measure --drawn $work/drawn --out $work/measured --files "$files" --share 1 2 $data & second=$!
  wait $first
  wait $second
}
run training.train --measured $work/measured --text $work/text --out $work/run
run training.export --run $work/run --text $work/text --out $work/driftline-mini
