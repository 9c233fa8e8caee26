input X[2147483648, 4]: f16
output X
