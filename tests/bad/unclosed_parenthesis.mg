input A[16]: f16
output (((A + 1)
