input A[16]: f16
output softmin(A, -1)
