package ncn

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
)

// SetBootParameters sets which image a node boots next, with [Image], and values that all nodes see, with [GlobalData].
// One of the two is required. Every write is read back.
//
// Errors: Invalid, NotFound, Conflict (another writer keeps undoing the write), Unavailable.
func SetBootParameters(ctx context.Context, h Host, opts ...Option) error {
	return do(ctx, "ncn.SetBootParameters", "ncn.boot-parameters", h, "", opts)
}

func (w *work) bootParametersOnly() (steps, finally []lifecycle.Step) {
	return []lifecycle.Step{w.bootParametersStep()}, nil
}

func (w *work) bootParametersStep() lifecycle.Step {
	node := w.facts.Node
	summary := "keep the image"
	if w.args.Image != nil {
		summary = "boot " + w.args.Image.Path + " " + w.args.Image.Version + " next"
	}
	return lifecycle.Step{
		ID: "boot-parameters", Effect: lifecycle.Idempotent, Summary: summary,
		Done: func(ctx context.Context) (bool, error) {
			if w.args.Image == nil && len(w.args.GlobalData) == 0 {
				if w.kind.name == "ncn.boot-parameters" {
					return false, lifecycle.Errorf(lifecycle.Invalid, "ncn.SetBootParameters", node.Name, "neither an image nor global data is given")
				}
				return true, nil
			}
			return false, nil
		},
		Before: func(ctx context.Context) error {
			e, err := w.site.BSS.Get(ctx, node.XName)
			if err != nil {
				return err
			}
			if len(w.args.GlobalData) > 0 {
				if _, err := w.site.BSS.Get(ctx, bss.Global); err != nil {
					return err
				}
			}
			if w.args.Image == nil {
				return nil
			}
			return bss.SetImage(&e, node.Role, *w.args.Image)
		},
		Do: func(ctx context.Context) error {
			if w.args.Image != nil {
				set := func(e *bss.Entry) error { return bss.SetImage(e, node.Role, *w.args.Image) }
				if err := bss.Update(ctx, w.site.BSS, node.XName, set); err != nil {
					return err
				}
			}
			return w.setGlobal(ctx)
		},
	}
}

func (w *work) setGlobal(ctx context.Context) error {
	if len(w.args.GlobalData) == 0 {
		return nil
	}
	return bss.Update(ctx, w.site.BSS, bss.Global, func(e *bss.Entry) error {
		for _, key := range slices.Sorted(maps.Keys(w.args.GlobalData)) {
			if err := bss.SetMeta(e, key, w.args.GlobalData[key]); err != nil {
				return err
			}
		}
		return nil
	})
}

// wantedImage returns what the command line of a node that booted as planned has for metal.server, without what the boot
// script service adds: scheme, host and signature. Empty means that the plan does not know.
func (w *work) wantedImage() string {
	switch {
	case w.args.Image != nil:
		return imagePath(w.args.Image.Server(""))
	case w.facts.Previous != nil:
		p := bss.ParseParams(w.facts.Previous.Params)
		server, _ := p.Get("metal.server")
		return imagePath(server)
	}
	return ""
}

func imagePath(server string) string {
	_, rest, found := strings.Cut(server, "://")
	if !found {
		return server
	}
	rest, _, _ = strings.Cut(rest, "?")
	if strings.HasPrefix(server, "s3://") {
		return rest
	}
	_, path, _ := strings.Cut(rest, "/")
	return path
}
