module github.com/ncnkit/lifecycle/internal/itest

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/ncnkit/lifecycle v0.1.0
	github.com/stretchr/testify v1.12.1
	go.uber.org/goleak v1.3.0
	golang.org/x/crypto v0.58.0
)
