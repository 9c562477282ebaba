module github.com/ncnkit/lifecycle/internal/itest

go 1.26.0

require github.com/ncnkit/lifecycle v0.1.0
