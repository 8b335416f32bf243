#!/bin/sh
# Frames into ffmpeg as they are made: here twice as large, with ffmpeg's own settings.
# Y4M tells size and rate itself; `--format rawvideo` would be bare pictures.
#
#   examples/pipe_ffmpeg.sh large.mp4 --prompt "a red train in the mountains" --seconds 8
set -eu
out=$1
shift
sana-stream "$@" --out - --format y4m |
    ffmpeg -loglevel error -i - -vf scale=2*iw:2*ih:flags=lanczos -c:v libx264 -crf 20 -y "$out"
