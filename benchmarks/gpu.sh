#!/bin/bash
# Figures and checks on one accelerator, in a few minutes: which device, compile times, training and translating speed, and
# whether a run that was stopped and resumed there ends with the same bits.
#
#     benchmarks/gpu.sh [OUT]          PYTHON=python3 STEPS=300 LINES=1000 LAYERS=6 WIDTH=512
#
# OUT (default: runs/gpu) gets a log of each step and summary.txt. A rehearsal on a CPU takes the same way with small sizes:
# STEPS=30 LINES=50 LAYERS=1 WIDTH=32 benchmarks/gpu.sh
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${1:-runs/gpu} PYTHON=${PYTHON:-python3} STEPS=${STEPS:-300} LINES=${LINES:-1000} LAYERS=${LAYERS:-6} WIDTH=${WIDTH:-512}
rm -rf "$OUT"
mkdir -p "$OUT"
say() { echo "$*" | tee -a "$OUT/summary.txt"; }

command -v nvidia-smi > /dev/null && say "card: $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader)"
say "$("$PYTHON" -c 'import jax, platform; print("jax", jax.__version__, "python", platform.python_version(), jax.devices())')"
say "date: $(date +%F)  steps $STEPS  layers $LAYERS  width $WIDTH"

cat > "$OUT/base.toml" << TOML
run_dir = "$OUT/base"
[data]
source = "en"
target = "de"
train = ["builtin:clauses:train:40000"]
valid = ["builtin:clauses:valid:200"]
buckets = 2
[tokenizer]
vocab_size = 1000
[model]
d_model = $WIDTH
d_ff = $((4 * WIDTH))
num_heads = 8
encoder_layers = $LAYERS
decoder_layers = $LAYERS
[train]
steps = $STEPS
batch_tokens = 8192
warmup_steps = 100
log_every = $((STEPS / 3))
eval_every = $STEPS
save_every = $((STEPS / 3))
TOML

train() { "$PYTHON" train.py "$OUT/base.toml" "$@"; }

train 2> "$OUT/train.log"
say "training:"
grep -E 'compiled|target tokens/s|valid nll' "$OUT/train.log" | cut -c1-150 | tee -a "$OUT/summary.txt"

# Stopped at the first checkpoint, and resumed: the same bits?
"$PYTHON" train.py "$OUT/base.toml" --run-dir "$OUT/stopped" 2> "$OUT/stopped.log" &  # not in a subshell, for the signal
process=$!
until [ -d "$OUT/stopped/checkpoints/$((STEPS / 3))" ] || ! kill -0 $process 2> /dev/null; do sleep 0.2; done
kill -TERM $process 2> /dev/null || true
wait $process || say "stopped with exit code $?"
train --run-dir "$OUT/stopped" 2> "$OUT/resumed.log"
if cmp -s "$OUT/base/model/model.safetensors" "$OUT/stopped/model/model.safetensors"; then
    say "stopped and resumed: the same bits"
else
    say "stopped and resumed: OTHER BITS"
fi

"$PYTHON" -m transformer corpus "builtin:clauses:test:$LINES" "$OUT/test" --source en --target de 2> /dev/null
for beam in 1 5; do
    for run in compiling warm; do
        "$PYTHON" translate.py --model "$OUT/base" -i "$OUT/test.en" -o "$OUT/beam$beam.$run" --beam-size $beam 2> "$OUT/translate.log"
        say "translate, beam $beam, $run: $(tail -n 1 "$OUT/translate.log")"
    done
    cmp -s "$OUT/beam$beam.compiling" "$OUT/beam$beam.warm" || say "beam $beam: two runs gave OTHER TEXT"
done
