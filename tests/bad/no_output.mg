input A[16]: f16
