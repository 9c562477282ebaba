package fakehttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/bss/bsstest"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/fakehttp"
)

// TestClientConformance runs the suite of the bss package over its client and this server, in both dialects.
func TestClientConformance(t *testing.T) {
	for name, openCHAMI := range map[string]bool{"hms-bss": false, "OpenCHAMI": true} {
		for _, check := range bsstest.Checks() {
			t.Run(name+"/"+check.Name, func(t *testing.T) {
				server := serve(t, fakehttp.Config{Cluster: noEntries(t), OpenCHAMI: openCHAMI, S3: &fakehttp.S3{Endpoint: "http://s3"}})
				client := bss.New(bss.Config{URL: server.URL + "/apis/bss", HTTP: server.Client()})
				check.Run(t, client, bsstest.WithFetch(func(ctx context.Context, host, endpoint string) error {
					return fetch(ctx, server, host, endpoint)
				}))
			})
		}
	}
}

// noEntries returns a cluster whose hardware is known, and for which nothing was ever put.
func noEntries(t *testing.T) *fakes.Cluster {
	c := fakes.New(fakes.Layout{Workers: 7})
	s := c.BootStore()
	all, err := s.All(t.Context())
	require.NoError(t, err)
	for _, e := range all {
		require.NoError(t, s.Delete(t.Context(), e))
	}
	return c
}

func fetch(ctx context.Context, server *httptest.Server, host, endpoint string) error {
	if endpoint != bss.BootScript {
		return fmt.Errorf("no way to fetch %s", endpoint)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/apis/bss/boot/v1/bootscript?name="+host, nil)
	if err != nil {
		return err
	}
	res, err := server.Client().Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

// TestUpdateSurvivesTheRace: of the writers in one process, none loses its change to the service that loses updates.
func TestUpdateSurvivesTheRace(t *testing.T) {
	meet := make(chan struct{})
	server := serve(t, fakehttp.Config{Race: func() { // two have read before either stores, when there are two
		select {
		case meet <- struct{}{}:
		case <-meet:
		case <-time.After(2 * time.Millisecond):
		}
	}})
	client := bss.New(bss.Config{URL: server.URL + "/apis/bss", HTTP: server.Client()})
	require.NoError(t, client.Put(t.Context(), bss.Entry{Hosts: []string{bss.Global}, CloudInit: bss.CloudInit{MetaData: map[string]any{"first": true}}}))
	const writers = 50
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			err := bss.Update(t.Context(), client, bss.Global, func(e *bss.Entry) error {
				return bss.SetMeta(e, fmt.Sprintf("key-%d", i), true)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	e, err := client.Get(t.Context(), bss.Global)
	require.NoError(t, err)
	require.Len(t, e.CloudInit.MetaData, writers+1)
}
