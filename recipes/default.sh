#!/usr/bin/env bash
# The whole training of the packaged model `default`, from data sets and ImageNet weights to the packaged model. What is done is not done again:
# interrupted, killed or out of time, the same command goes on where it stopped, also in the middle of an epoch. It takes a GPU if there is one.
set -euo pipefail
shopt -s inherit_errexit

usage() {
  cat >&2 <<'END'
usage: recipes/default.sh CASIA PHOTOS OBJECTS WEIGHTS OUT [OPTIONS OF EVERY TRAINING...]

  CASIA    folder with train/ and test/, each with Tp/, Gt/ and Au/ (docs/datasets.md)
  PHOTOS   folders of authentic photographs, separated by commas
  OBJECTS  folders of photographs with object masks, separated by commas (docs/synthesis.md)
  WEIGHTS  MobileNetV2 1.0 of the ONNX model zoo, as .safetensors in Gluon's naming
  OUT      folder for all that is made; the model is OUT/model

ten minutes at a time, until it is done (exit code 0):
  timeout -s INT 600 recipes/default.sh CASIA PHOTOS OBJECTS WEIGHTS OUT
with more processes that load images:
  recipes/default.sh CASIA PHOTOS OBJECTS WEIGHTS OUT --set data.workers=12
END
  exit 2
}

fail() {
  echo "error: $1" >&2
  exit 2
}

[ $# -ge 5 ] || usage
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
casia=$1 photos=$2 objects=$3 weights=$4 out=$5
shift 5
for part in "$casia/train/Tp" "$casia/test/Tp"; do
  [ -d "$part" ] || fail "$part: no such folder; CASIA is a folder with train/ and test/, each with Tp/, Gt/ and Au/"
done
[ -f "$weights" ] || fail "$weights: no such file; WEIGHTS are MobileNetV2's of the ONNX model zoo"
command -v boxpromptiml >/dev/null || fail "boxpromptiml is not installed: pip install 'boxpromptiml[train,teachers]'"
mkdir -p "$out"

# once NAME COMMAND...: a step that does not go on by itself; its mark is made after it.
once() {
  local mark="$out/.$1-done"
  shift
  [ -e "$mark" ] || { "$@" && touch "$mark"; }
}

data=$out/casia
if [ ! -e "$out/.data-done" ]; then
  rm -rf "$data" # half of an import is no data set
  boxpromptiml import "$casia/train" -o "$data" --split train
  boxpromptiml import "$casia/test" -o "$data" --split test
  boxpromptiml split "$data" --within train --val 0.1
  boxpromptiml boxes "$data" --from-masks
  touch "$out/.data-done"
fi
for split in train val; do
  once "teacher-$split" boxpromptiml pseudo-label "$data" --teacher grabcut --split "$split"
done
once weights boxpromptiml convert-weights "$weights" -o "$out/mobilenetv2.safetensors"

before=$out/mobilenetv2.safetensors
for part in default default-continued default-turned default-compressed; do
  echo "$part"
  boxpromptiml train "$data" -o "$out/$part" --recipe "$here/$part.yaml" --pretrained "$before" --resume \
    --set "synthesis.photos=[$photos]" --set "synthesis.objects=[$objects]" "$@"
  before=$out/$part
done
once package boxpromptiml package "$before" --name default --output "$out/model" --copies --looks 2 --adaptive \
  --max-false-area 0.0125 --validation "$data" --results casia-test="$data"
