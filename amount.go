package lifecycle

import (
	"fmt"
	"strconv"
	"strings"
)

// Amount is a number of hosts, a share of them in percent, or both: then the smaller one counts. What none at all means
// is said where an Amount is used. Its text, also in JSON, is "3", "25%" or "3,25%". It is a plain value.
type Amount struct {
	Count   int // hosts
	Percent int // of the hosts, 1 to 100
}

// Of returns how many of n hosts that is. A share is rounded down, but is at least one host: a limit of less than one
// would never let anything begin.
func (a Amount) Of(n int) int {
	share := max(1, n*a.Percent/100)
	switch {
	case a.Percent == 0:
		return a.Count
	case a.Count == 0:
		return share
	}
	return min(a.Count, share)
}

// String returns the amount's text; that of no amount is empty.
func (a Amount) String() string {
	var parts []string
	if a.Count != 0 {
		parts = append(parts, strconv.Itoa(a.Count))
	}
	if a.Percent != 0 {
		parts = append(parts, strconv.Itoa(a.Percent)+"%")
	}
	return strings.Join(parts, ",")
}

// MarshalText returns the amount's text.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads an amount's text. What is none is [Invalid].
func (a *Amount) UnmarshalText(text []byte) error {
	got, err := ParseAmount(string(text))
	if err == nil {
		*a = got
	}
	return err
}

// ParseAmount reads an amount's text: "3", "25%", "3,25%", or nothing. What is none is [Invalid].
func ParseAmount(text string) (Amount, error) {
	var a Amount
	if text == "" {
		return a, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		field := &a.Count
		number, isShare := strings.CutSuffix(part, "%")
		if isShare {
			field = &a.Percent
		}
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil || *field != 0 {
			return Amount{}, Errorf(Invalid, "lifecycle.ParseAmount", "", "%q is no amount of hosts: want 3, 25%% or 3,25%%", text)
		}
		*field = int(n)
	}
	return a, a.check("the amount")
}

func (a Amount) check(what string) error {
	if a.Count < 0 || a.Percent < 0 || a.Percent > 100 {
		return Errorf(Invalid, "lifecycle.Amount", "", "%s is %s: want a count from 0, a share from 0 to 100 percent", what,
			fmt.Sprintf("%d hosts and %d percent", a.Count, a.Percent))
	}
	return nil
}
