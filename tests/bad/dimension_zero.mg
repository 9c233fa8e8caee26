input X[0, 4]: f16
output X
