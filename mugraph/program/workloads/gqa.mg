# Grouped-query attention: for each of b sequences two groups of key/value heads, 256 query rows a group
input Q[2*b, 256, 64]: f16
input K[2*b, 64, 4096]: f16
input V[2*b, 4096, 64]: f16
E = exp(matmul(Q, K))
output O = matmul(E / sum(E, -1), V)
