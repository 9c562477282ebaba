package lab

import (
	"context"
	"slices"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
)

// journal is the directory's journal as the world reads it, to judge what it sees: a node that is armed for an open run is
// in order. Nothing is written there. Runs that had ended when the lab started are left out, because they were about the
// nodes of an earlier cluster.
type journal struct {
	*lifecycle.DirJournal
	before []string
}

func openJournal(ctx context.Context, dir string) *journal {
	j := &journal{DirJournal: lifecycle.NewDirJournal(dir)}
	runs, err := j.DirJournal.Runs(ctx)
	if err != nil {
		return j // the verdict tells
	}
	for _, run := range runs {
		if records, err := j.Records(ctx, run); err == nil && records[len(records)-1].Type == lifecycle.RecordEnd {
			j.before = append(j.before, run)
		}
	}
	return j
}

// Runs implements [lifecycle.Journal].
func (j *journal) Runs(ctx context.Context) ([]string, error) {
	runs, err := j.DirJournal.Runs(ctx)
	return slices.DeleteFunc(runs, func(run string) bool { return slices.Contains(j.before, run) }), err
}

// unreadable returns what cannot be judged because it cannot be read.
func (j *journal) unreadable(ctx context.Context) []fakes.Breach {
	runs, err := j.Runs(ctx)
	if err != nil {
		return []fakes.Breach{damage(err)}
	}
	var all []fakes.Breach
	for _, run := range runs {
		if _, err := j.Records(ctx, run); err != nil {
			all = append(all, damage(err))
		}
	}
	return all
}

func damage(err error) fakes.Breach {
	return fakes.Breach{Invariant: "I14", Detail: "the journal in the lab's directory cannot be read: " + err.Error()}
}
