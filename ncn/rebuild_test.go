package ncn_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
)

func TestRebuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 3})
		site := w.Site()
		m := w.Machine("ncn-w002")
		before := m.BootID()
		p, err := ncn.Rebuild(t.Context(), site.Host("ncn-w002"), ncn.Worker, ncn.Image("ncn-images/k8s", "0.1.110"))
		require.NoError(t, err)
		require.NoError(t, lifecycle.Run(t.Context(), p, lifecycle.WithJournal(w.Journal()), lifecycle.WithObserver(func(e lifecycle.Event) {
			t.Log(e.Time.Format("15:04:05"), e.Type, e.Index, e.Total, e.Step, e.Outcome, e.State, e.Detail)
		})))
		require.Equal(t, 2, m.Generation())
		require.NotEqual(t, before, m.BootID())
	})
}
