//go:build race

package ncn_test

const workers = 50
