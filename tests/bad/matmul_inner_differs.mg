input A[16, 4096]: f16
input B[512, 64]: f16
output matmul(A, B)
