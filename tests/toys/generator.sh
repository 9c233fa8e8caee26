# The toy generator `copy`: a search finds it by itself, and it builds what it is asked to build. Run in the scratch copy.
# touches: cuda_templates/copy/ cuda_templates/generators.def
set -eu
make build/tests/cuda_plan >make.log 2>&1 || { grep -E 'error|undefined' make.log; exit 1; }
build/tests/cuda_plan >test.log 2>&1 || { cat test.log; exit 1; }
printf 'input X[b, 1024]: f16\noutput O = -X\n' >neg.mg
./msearch --program neg.mg -b 64 --fresh --no-gpu -q -o neg.json
grep -q '"backend":6' neg.json || { echo "the search does not try the toy"; exit 1; }
sed -i 's/"backend":[0-9]*/"backend":6/g; s/"tile_n":[0-9]*/"tile_n":0/g' neg.json
./msearch emit neg.json -o neg.cu 2>emit.log || { cat emit.log; exit 1; }
grep -q k0_copy neg.cu || { echo "not the toy's kernel"; exit 1; }
./msearch show neg.json | grep -q 'copy' || { echo "show does not know its name"; exit 1; }
# It compiles, where there is a compiler.
./msearch emit neg.json -o neg.cubin 2>emit.log || grep -q "libnvrtc" emit.log || { cat emit.log; exit 1; }
