package deptest_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle/internal/deptest"
)

var update = flag.Bool("update", false, "rewrite testdata/deps.txt")

const module = "github.com/ncnkit/lifecycle"

func packages(t *testing.T) map[string]deptest.Package {
	list, err := deptest.List(t.Context(), "../..", "./...")
	require.NoError(t, err)
	all := map[string]deptest.Package{}
	for _, p := range list {
		all[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")] = p
	}
	return all
}

// The arrows of the map: each package imports only those that its row names, of this module.
func TestArrows(t *testing.T) {
	arrows := map[string][]string{
		"":                  {"internal/mutant"},
		"lifecycletest":     {""},
		"power":             {"", "internal/mutant"},
		"power/powertest":   {"", "power"},
		"power/ipmi":        {"", "power"},
		"bss":               {"", "internal/mutant", "internal/httpx"},
		"bss/bsstest":       {"", "bss"},
		"backup":            {"", "internal/mutant"},
		"backup/backuptest": {"", "backup"},
		"backup/dirstore":   {"", "backup"},
		"ncn":               {"", "power", "bss", "backup", "internal/mutant"},
		"ncn/sshrun":        {""},
		"ncn/csm":           {"", "internal/httpx"},
		"fakes":             {"", "power", "bss", "backup", "ncn"},
		"fakes/fakehttp":    {"", "bss", "fakes"},
		"fakes/fakessh":     {"", "fakes"},
		"fakes/fakebmc":     {"", "power"},
		"fakes/sim":         {"", "power", "bss", "backup", "ncn", "fakes"},
		"internal/httpx":    {""},
		"internal/mutant":   {},
		"internal/deptest":  {},
	}
	for name, p := range packages(t) {
		allowed, known := arrows[name]
		require.True(t, known, "%q is not on the map: give it a row here and a line in doc.go", name)
		for _, imported := range p.Imports {
			if !deptest.Below(imported, module) {
				continue
			}
			to := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
			require.Contains(t, allowed, to, "%q imports %q", name, to)
		}
	}
}

// What a program never links because it uses this module.
func TestForbiddenReach(t *testing.T) {
	for name, p := range packages(t) {
		for what, why := range map[string]string{
			"k8s.io":                      "only kube/kubeclient may reach the Kubernetes client",
			"go.etcd.io":                  "only etcd adapters may reach the etcd client",
			"github.com/aws":              "only S3 adapters may reach the AWS SDK",
			"github.com/coreos":           "only bootsrv/ignconf may reach Ignition",
			"github.com/bougou/go-ipmi":   "only power/ipmi and fakes/fakebmc may reach go-ipmi",
			"golang.org/x/crypto/ssh":     "only ncn/sshrun and fakes/fakessh may reach SSH",
			"mvdan.cc/sh/v3":              "only fakes/fakessh may reach the shell",
			"testing":                     "a program must not link the testing package",
			"github.com/stretchr/testify": "suites take a small TB interface",
		} {
			if exempt[what] != nil && slices.Contains(exempt[what], name) {
				continue
			}
			require.Empty(t, p.Reaches(what), "%q: %s", name, why)
		}
	}
}

var exempt = map[string][]string{
	"testing":                   {"fakes/sim"}, // it runs tests: a bubble needs one
	"github.com/bougou/go-ipmi": {"power/ipmi", "fakes/fakebmc"},
	"golang.org/x/crypto/ssh":   {"ncn/sshrun", "fakes/fakessh"},
	"mvdan.cc/sh/v3":            {"fakes/fakessh"},
}

// The third-party packages behind each package, as they were last looked at. Run with -update after a look.
func TestDependencyList(t *testing.T) {
	std, err := deptest.List(t.Context(), "../..", "std")
	require.NoError(t, err)
	standard := map[string]bool{"unsafe": true, "C": true}
	for _, p := range std {
		standard[p.ImportPath] = true
	}
	var lines []string
	for name, p := range packages(t) {
		if name == "" {
			name = "."
		}
		seen := map[string]bool{}
		for _, dep := range p.Deps {
			if standard[dep] || deptest.Below(dep, module) || strings.HasPrefix(dep, "vendor/") || strings.HasPrefix(dep, "runtime/") {
				continue
			}
			seen[moduleOf(dep)] = true
		}
		for m := range seen {
			lines = append(lines, name+" "+m)
		}
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	file := filepath.Join("testdata", "deps.txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the dependencies changed (-listed +now); look, then run with -update:\n%s", diff)
	}
}

// moduleOf shortens an import path to what is downloaded as one, well enough for a list that people read.
func moduleOf(path string) string {
	parts := strings.Split(path, "/")
	n := 2
	if parts[0] == "github.com" || parts[0] == "golang.org" {
		n = 3
	}
	return strings.Join(parts[:min(n, len(parts))], "/")
}

// A program that imports only power, or only ncn: after go mod tidy, neither its go.mod nor its dependencies name the
// heavy clients.
func TestImportingIsLight(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	for _, name := range []string{"power", "ncn"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(file, text string) {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
			}
			write("go.mod", "module example.com/user\n\ngo 1.26.0\n\nrequire "+module+" v0.1.0\n\nreplace "+module+" => "+root+"\n")
			write("main.go", "package main\n\nimport _ \""+module+"/"+name+"\"\n\nfunc main() {}\n")
			run(t, dir, "go", "mod", "tidy")
			mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			require.NoError(t, err)
			deps := run(t, dir, "go", "list", "-deps", ".")
			for _, heavy := range []string{"k8s.io", "go.etcd.io", "github.com/aws", "github.com/bougou", "golang.org/x/crypto"} {
				linked := slices.ContainsFunc(strings.Fields(deps), func(dep string) bool { return deptest.Below(dep, heavy) })
				require.False(t, linked, "%s links %s", name, heavy)
				require.NotContains(t, string(mod), heavy)
			}
		})
	}
}
