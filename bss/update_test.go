package bss_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/stretchr/testify/require"
)

func setMeta(key string, value any) func(*bss.Entry) error {
	return func(e *bss.Entry) error { return bss.SetMeta(e, key, value) }
}

func TestUpdateSendsOnlyWhatChanged(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(*bss.Entry) error
		want []bss.Patch
	}{
		{"nothing", func(*bss.Entry) error { return nil }, nil},
		{"the same value", setMeta("nested.a", "1"), nil},
		{"the same number", setMeta("mtu", 1376.0), nil},
		{"kernel", func(e *bss.Entry) error { e.Kernel = "k"; return nil }, []bss.Patch{{Host: xname, Kernel: "k"}}},
		{"params", func(e *bss.Entry) error { e.Params = "p=1"; return nil }, []bss.Patch{{Host: xname, Params: "p=1"}}},
		{"deep", setMeta("nested.b", "3"), []bss.Patch{{Host: xname, CloudInit: json.RawMessage(`{"meta-data":{"nested":{"b":"3"}}}`)}}},
		{"delete", func(e *bss.Entry) error { return bss.DeleteMeta(e, "nested.b") },
			[]bss.Patch{{Host: xname, CloudInit: json.RawMessage(`{"meta-data":{"nested":{"b":null}}}`)}}},
		{"delete a whole part", func(e *bss.Entry) error { e.CloudInit.UserData = nil; return nil },
			[]bss.Patch{{Host: xname, CloudInit: json.RawMessage(`{"user-data":{"hostname":null,"runcmd":null}}`)}}},
		{"array", func(e *bss.Entry) error { return bss.SetUser(e, "runcmd", []string{"one", "two"}) },
			[]bss.Patch{{Host: xname, CloudInit: json.RawMessage(`{"user-data":{"runcmd":["one","two"]}}`)}}},
		{"object becomes scalar", setMeta("nested", 7), []bss.Patch{{Host: xname, CloudInit: json.RawMessage(`{"meta-data":{"nested":7}}`)}}},
		{"scalar becomes object", setMeta("mtu", map[string]int{"x": 1}),
			[]bss.Patch{{Host: xname, CloudInit: json.RawMessage(`{"meta-data":{"mtu":{"x":1}}}`)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := newToy(worker())
			require.NoError(t, bss.Update(t.Context(), api, xname, tc.edit))
			require.Empty(t, cmp.Diff(tc.want, api.writes))
			want := worker()
			require.NoError(t, tc.edit(&want))
			require.NoError(t, bss.Update(t.Context(), api, xname, tc.edit), "it is idempotent")
			require.Len(t, api.writes, len(tc.want))
		})
	}
}

func TestUpdateRefuses(t *testing.T) {
	for name, edit := range map[string]func(*bss.Entry) error{
		"clearing params": func(e *bss.Entry) error { e.Params = ""; return nil },
		"clearing kernel": func(e *bss.Entry) error { e.Kernel = ""; return nil },
		"clearing initrd": func(e *bss.Entry) error { e.Initrd = ""; return nil },
		"a newline":       func(e *bss.Entry) error { e.Params += "\nchain http://elsewhere"; return nil },
		"another host":    func(e *bss.Entry) error { e.Hosts = []string{bss.Global}; return nil },
		"macs":            func(e *bss.Entry) error { e.MACs = []string{"98:03:9b:bb:a9:94"}; return nil },
		"nids":            func(e *bss.Entry) error { e.NIDs = []int32{1}; return nil },
		"phone-home":      func(e *bss.Entry) error { e.CloudInit.PhoneHome.RSA = "k"; return nil },
		"null":            func(e *bss.Entry) error { e.CloudInit.MetaData["mtu"] = nil; return nil },
		"null deep inside": func(e *bss.Entry) error {
			e.CloudInit.MetaData["n"] = map[string]any{"x": map[string]any{"y": nil}}
			return nil
		},
		"what is not JSON":   func(e *bss.Entry) error { e.CloudInit.MetaData["n"] = make(chan int); return nil },
		"what edit refuses":  func(*bss.Entry) error { return lifecycle.Errorf(lifecycle.Invalid, "mine", "", "no") },
		"null beside a real": func(e *bss.Entry) error { e.Kernel = "k"; e.CloudInit.MetaData["mtu"] = nil; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			api := newToy(worker())
			require.ErrorIs(t, bss.Update(t.Context(), api, xname, edit), lifecycle.Invalid)
			require.Empty(t, api.writes, "nothing is written")
		})
	}
	api := newToy(worker())
	same := func(*bss.Entry) error { return nil }
	require.ErrorIs(t, bss.Update(t.Context(), nil, xname, same), lifecycle.Invalid)
	require.ErrorIs(t, bss.Update(t.Context(), api, "a,b", same), lifecycle.Invalid)
	require.ErrorIs(t, bss.Update(t.Context(), api, xname, nil), lifecycle.Invalid)
	require.ErrorIs(t, bss.Update(t.Context(), api, xname, same, bss.WithAttempts(0)), lifecycle.Invalid)
	require.ErrorContains(t, bss.Update(t.Context(), api, "x1c0s0b0n0", same), "check the xname")
}

func TestUpdateRepairsLostWrites(t *testing.T) {
	for lost := range 10 {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newToy(worker())
				api.lose = lost
				start := time.Now()
				err := bss.Update(t.Context(), api, xname, setMeta("a.b", "secret-value"))
				require.Less(t, time.Since(start), 40*time.Second)
				if lost < 8 {
					require.NoError(t, err)
					got, _ := bss.GetMeta(api.entry(xname), "a.b")
					require.Equal(t, "secret-value", got)
					require.Len(t, api.writes, lost+1)
					return
				}
				require.ErrorIs(t, err, lifecycle.Conflict)
				require.ErrorContains(t, err, "meta-data.a")
				require.NotContains(t, err.Error(), "secret-value")
				require.Len(t, api.writes, 8)
			})
		})
	}
}

func TestUpdateRepairsWhatAnotherWriterOverwrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newToy(worker())
		api.onPatch = func(n int, apply func() error) error {
			stale := api.entry(xname)
			require.NoError(t, apply())
			if n == 1 { // a PUT of the whole entry, as csi does it
				stale.Kernel = "theirs"
				require.NoError(t, api.Put(context.Background(), stale))
			}
			return nil
		}
		require.NoError(t, bss.Update(t.Context(), api, xname, setMeta("mine", "here")))
		e := api.entry(xname)
		got, _ := bss.GetMeta(e, "mine")
		require.Equal(t, "here", got)
		require.Equal(t, "theirs", e.Kernel, "their change stays")
	})
}

var errLost = lifecycle.Errorf(lifecycle.Unknown, "toy", xname, "the answer was lost")

func TestUpdateLooksAfterALostReply(t *testing.T) {
	for name, kind := range map[string]lifecycle.Kind{"unknown": lifecycle.Unknown, "unavailable": lifecycle.Unavailable} {
		t.Run(name+", it happened", func(t *testing.T) {
			api := newToy(worker())
			api.onPatch = func(_ int, apply func() error) error {
				return errors.Join(lifecycle.Errorf(kind, "toy", xname, "lost"), apply())
			}
			require.NoError(t, bss.Update(t.Context(), api, xname, setMeta("mine", "here")))
			require.Len(t, api.writes, 1, "it is not sent again")
		})
		t.Run(name+", it did not happen", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newToy(worker())
				api.onPatch = func(n int, apply func() error) error {
					require.Equal(t, 2*n-1, api.gets, "a look precedes each sending")
					if n == 1 {
						return lifecycle.Errorf(kind, "toy", xname, "lost")
					}
					return apply()
				}
				err := bss.Update(t.Context(), api, xname, setMeta("mine", "here"))
				require.NoError(t, err)
				require.Len(t, api.writes, 2)
			})
		})
		t.Run(name+", for ever", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newToy(worker())
				api.onPatch = func(int, func() error) error { return lifecycle.Errorf(kind, "toy", xname, "lost") }
				err := bss.Update(t.Context(), api, xname, setMeta("mine", "here"), bss.WithAttempts(3))
				require.Equal(t, kind, lifecycle.KindOf(err))
				require.ErrorContains(t, err, "meta-data.mine")
				require.Len(t, api.writes, 3)
			})
		})
	}
	t.Run("refused", func(t *testing.T) {
		api := newToy(worker())
		api.onPatch = func(int, func() error) error { return lifecycle.Errorf(lifecycle.Denied, "toy", xname, "no") }
		require.ErrorIs(t, bss.Update(t.Context(), api, xname, setMeta("mine", "here")), lifecycle.Denied)
		require.Len(t, api.writes, 1)
	})
}

func TestUpdateThatCannotBeReadBackIsUnknown(t *testing.T) {
	t.Run("out of reach", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := newToy(worker())
			api.onGet = func(n int, e bss.Entry) (bss.Entry, error) {
				if n > 1 {
					return e, lifecycle.Errorf(lifecycle.Unavailable, "toy", xname, "down")
				}
				return e, nil
			}
			err := bss.Update(t.Context(), api, xname, setMeta("mine", "here"))
			require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(err))
			require.Len(t, api.writes, 1, "nothing is sent again unseen")
		})
	})
	t.Run("out of reach for a while", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := newToy(worker())
			api.onGet = func(n int, e bss.Entry) (bss.Entry, error) {
				if n > 1 && n < 5 {
					return e, lifecycle.Errorf(lifecycle.Unavailable, "toy", xname, "down")
				}
				return e, nil
			}
			require.NoError(t, bss.Update(t.Context(), api, xname, setMeta("mine", "here")))
			require.Len(t, api.writes, 1)
		})
	})
	t.Run("denied", func(t *testing.T) {
		api := newToy(worker())
		api.onGet = func(n int, e bss.Entry) (bss.Entry, error) {
			if n > 1 {
				return e, lifecycle.Errorf(lifecycle.Denied, "toy", xname, "expired")
			}
			return e, nil
		}
		err := bss.Update(t.Context(), api, xname, setMeta("mine", "here"))
		require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(err))
	})
	t.Run("canceled while it was sent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		api := newToy(worker())
		api.onPatch = func(int, func() error) error { cancel(); return errLost }
		err := bss.Update(ctx, api, xname, setMeta("mine", "here"))
		require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(err))
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("canceled between attempts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			api := newToy(worker())
			api.lose = 100
			err := bss.Update(ctx, api, xname, setMeta("mine", "here"))
			require.Equal(t, lifecycle.Timeout, lifecycle.KindOf(err))
			require.ErrorContains(t, err, "meta-data.mine")
		})
	})
}

// A patch must not carry what it does not change: fields that this version does not know stay on the service.
func TestUpdateKeepsWhatItDoesNotKnow(t *testing.T) {
	h := &verbatim{body: `{"hosts":["` + xname + `"],"params":"a=1","future":{"x":1},"cloud-init":{"meta-data":{"big":12345678901234567890},"phone-home":{"pub_key_dsa":"d"}}}`}
	require.NoError(t, bss.Update(t.Context(), clientOf(h), xname, setMeta("new", "v")))
	require.Equal(t, []string{`{"hosts":["` + xname + `"],"cloud-init":{"meta-data":{"new":"v"}}}`}, h.patches)
}

// lockedToy is a toy whose updates wait for one another.
type lockedToy struct {
	*toy
	bss.HostLocks
}

func TestConcurrentUpdatesAllSurvive(t *testing.T) {
	const n = 50
	count := func(e bss.Entry) (survived int) {
		for i := range n {
			if _, ok := bss.GetMeta(e, fmt.Sprintf("key-%d", i)); ok {
				survived++
			}
		}
		return survived
	}
	each := func(f func(i int)) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { f(i) })
		}
		wg.Wait()
	}
	racy := func() *toy {
		api := newToy(worker())
		var mu sync.Mutex
		gap := 0
		api.gap = func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			gap = (gap + 7) % 11
			return time.Duration(gap) * time.Millisecond
		}
		return api
	}
	synctest.Test(t, func(t *testing.T) {
		api := racy()
		each(func(i int) {
			p := bss.Patch{Host: xname, CloudInit: json.RawMessage(fmt.Sprintf(`{"meta-data":{"key-%d":"x"}}`, i))}
			require.NoError(t, api.Patch(t.Context(), p))
		})
		require.Less(t, count(api.entry(xname)), n, "the double must race, or this test shows nothing")
	})
	synctest.Test(t, func(t *testing.T) {
		api := lockedToy{toy: racy()}
		each(func(i int) {
			require.NoError(t, bss.Update(t.Context(), &api, xname, setMeta(fmt.Sprintf("key-%d", i), "x")))
		})
		require.Equal(t, n, count(api.entry(xname)))
	})
	synctest.Test(t, func(t *testing.T) {
		api := racy()
		client := clientOf(api)
		each(func(i int) {
			require.NoError(t, bss.Update(t.Context(), client, xname, setMeta(fmt.Sprintf("key-%d", i), "x")))
		})
		require.Equal(t, n, count(api.entry(xname)))
	})
}

func TestHostLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks bss.HostLocks
		unlock, err := locks.Lock(t.Context(), "a")
		require.NoError(t, err)
		other, err := locks.Lock(t.Context(), "b")
		require.NoError(t, err, "another host is free")
		other()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = locks.Lock(ctx, "a")
		require.ErrorIs(t, err, lifecycle.Timeout)
		unlock()
		unlock() // harmless
		unlock, err = locks.Lock(t.Context(), "a")
		require.NoError(t, err)
		unlock()
	})
}
