# The toy operator `cube`: programs may use it, it is verified and becomes code. Run in the scratch copy.
# touches: mugraph/op.def verify/number.c cuda_templates/emit/reference.c tests/verify_eval.c
set -eu
tests="verify_eval mugraph_json mugraph_program search_expr"
make -j"$(nproc)" $(for t in $tests; do echo "build/tests/$t"; done) >make.log 2>&1 || { grep -E 'error|undefined' make.log; exit 1; }
for t in $tests; do build/tests/$t >test.log 2>&1 || { grep -E 'FAILED|ERROR' test.log; exit 1; }; done
printf 'input X[b, 1024]: f16\ninput W[1024, 1024]: f16\noutput O = cube(matmul(X, W)) + cube(X)\n' >cube.mg
./msearch --program cube.mg -b 4 --fresh --no-gpu -o cube.json >cube.log
grep -q 'verified   equivalent' cube.log || { cat cube.log; exit 1; }
grep -q '^best       1 kernel' cube.log || { cat cube.log; exit 1; }
./msearch emit cube.json -o cube.cu 2>emit.log || { cat emit.log; exit 1; }
grep -q 'cube' cube.cu || { echo "no cube in the kernel"; exit 1; }
