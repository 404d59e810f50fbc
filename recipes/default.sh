#!/usr/bin/env bash
# Train and package a model as `default` was, from data sets and ImageNet weights on. What is done is not done again: interrupted, killed or out of
# time, the same command goes on where it stopped, also in the middle of an epoch. It takes a GPU if there is one.
set -euo pipefail

usage() {
  cat >&2 <<'END'
usage: recipes/default.sh CASIA PHOTOS OBJECTS WEIGHTS OUT [OPTIONS OF EVERY TRAINING...]

  CASIA    folder with train/ and test/, each with Tp/, Gt/ and Au/ (docs/datasets.md)
  PHOTOS   folders of authentic photographs, separated by commas
  OBJECTS  folders of photographs with object masks, separated by commas (docs/synthesis.md)
  WEIGHTS  MobileNetV2 1.0 of the ONNX model zoo, as .safetensors in Gluon's naming
  OUT      folder for all that is made, of this script alone; the model is OUT/model

ten minutes at a time (exit code 124: not yet done, call it again; 0: done; another: an error):
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

# list NAME FOLDERS: folders separated by commas, as a list in YAML.
list() {
  local folder quoted=()
  IFS=, read -ra folders <<<"$2"
  for folder in "${folders[@]}"; do
    [ -d "$folder" ] || fail "$folder: no such folder; $1 are folders, separated by commas"
    case $folder in *[\"\\]*) fail "$folder: rename it, without quotes and backslashes" ;; esac
    quoted+=("\"$folder\"")
  done
  (IFS=, && echo "[${quoted[*]}]")
}

# once NAME COMMAND...: a step that does not go on by itself; its mark is made after it.
once() {
  local mark="$out/.$1-done"
  shift
  [ -e "$mark" ] || { "$@" && touch "$mark"; }
}

import() {
  rm -rf "$out/.casia-part" # half of an import is no data set
  boxpromptiml import "$casia/train" -o "$out/.casia-part" --split train
  boxpromptiml import "$casia/test" -o "$out/.casia-part" --split test
  boxpromptiml split "$out/.casia-part" --within train --val 0.1
  boxpromptiml boxes "$out/.casia-part" --from-masks
  mv "$out/.casia-part" "$out/casia"
}

# A step may save its state and end well when it is asked to stop; the next one must not begin then.
trap 'exit 130' INT
trap 'exit 143' TERM

[ $# -ge 5 ] || usage
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
casia=$1 weights=$4 out=$5
for part in "$casia/train/Tp" "$casia/test/Tp"; do
  [ -d "$part" ] || fail "$part: no such folder; CASIA is a folder with train/ and test/, each with Tp/, Gt/ and Au/"
done
[ -f "$weights" ] || fail "$weights: no such file; WEIGHTS are MobileNetV2's of the ONNX model zoo"
photos=$(list PHOTOS "$2")
objects=$(list OBJECTS "$3")
command -v boxpromptiml >/dev/null || fail "boxpromptiml is not installed: pip install 'boxpromptiml[train,teachers]'"
inputs="$casia $photos $objects $weights"
shift 5

mkdir -p "$out"
if [ -e "$out/.inputs" ]; then
  [ "$(cat "$out/.inputs")" = "$inputs" ] || fail "$out: was made from $(cat "$out/.inputs"); choose another OUT"
else
  [ -z "$(ls -A "$out")" ] || fail "$out: is not empty, and not of this script; choose another OUT"
  printf '%s\n' "$inputs" >"$out/.inputs"
fi

[ -e "$out/casia" ] || import
for split in train val; do
  once "teacher-$split" boxpromptiml pseudo-label "$out/casia" --teacher grabcut --split "$split"
done
once weights boxpromptiml convert-weights "$weights" -o "$out/mobilenetv2.safetensors"

before=$out/mobilenetv2.safetensors
for part in default default-continued default-turned default-compressed; do
  echo "$part"
  boxpromptiml train "$out/casia" -o "$out/$part" --recipe "$here/$part.yaml" --pretrained "$before" --resume \
    --set "synthesis.photos=$photos" --set "synthesis.objects=$objects" "$@"
  before=$out/$part
done
# --overwrite: killed between the model and its mark, the step is done again.
once package boxpromptiml package "$before" --name default --output "$out/model" --overwrite --copies --completion --looks 2 --adaptive \
  --max-false-area 0.0125 --validation "$out/casia" --results casia-test="$out/casia"
