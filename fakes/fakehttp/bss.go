package fakehttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
)

// routeBSS serves hms-bss, cmd/boot-script-service/routers.go.
func (s *server) routeBSS(mux *http.ServeMux) {
	mux.HandleFunc("/boot/v1/bootparameters", s.bootParameters)
	mux.HandleFunc("/boot/v1/bootscript", only(http.MethodGet, s.bootScript))
	mux.HandleFunc("/boot/v1/hosts", s.hosts)
	mux.HandleFunc("/boot/v1/dumpstate", only(http.MethodGet, s.dumpState))
	mux.HandleFunc("/boot/v1/endpoint-history", only(http.MethodGet, s.history))
	mux.HandleFunc("/boot/v1/scn", only(http.MethodPost, func(http.ResponseWriter, *http.Request) {}))
	s.routeCloudInit(mux)
	if !s.OpenCHAMI {
		mux.HandleFunc("/boot/v1/service/", only(http.MethodGet, s.service))
		mux.HandleFunc("/boot/v1/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Hello World!") })
		return
	}
	for _, path := range []string{"status", "status/all", "version", "hsm", "storage/status"} {
		mux.HandleFunc("/boot/v1/service/"+path, s.service)
	}
}

func (s *server) routeCloudInit(mux *http.ServeMux) {
	mux.HandleFunc("/meta-data", only(http.MethodGet, s.metaData))
	mux.HandleFunc("/user-data", only(http.MethodGet, s.userData))
	mux.HandleFunc("/phone-home", only(http.MethodPost, s.phoneHome))
}

func only(method string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			notAllowed(w, method)
			return
		}
		next(w, r)
	}
}

const typeJSON = "application/json; charset=UTF-8"

// answer sends v as BSS does: JSON with a newline.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", typeJSON)
	w.WriteHeader(http.StatusOK)
	_ = json.NewEncoder(w).Encode(v)
}

func (s *server) bootParameters(w http.ResponseWriter, r *http.Request) {
	var write func(http.ResponseWriter, *http.Request, fakes.BootParams)
	switch r.Method {
	case http.MethodGet:
		s.get(w, r)
		return
	case http.MethodPut:
		write = s.put
	case http.MethodPost:
		write = s.post
	case http.MethodPatch:
		write = s.patch
	case http.MethodDelete:
		write = s.delete
	default:
		notAllowed(w, "GET,PUT,POST,PATCH,DELETE")
		return
	}
	// What follows the first JSON value is not looked at, and unknown fields are dropped.
	var p fakes.BootParams
	err := json.NewDecoder(r.Body).Decode(&p)
	if err == nil && s.OpenCHAMI {
		err = checkDialect(r.Method, p)
	}
	if err != nil {
		problem(w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	write(w, r, p)
}

// invalid is a refusal in the service's words, which are not those of a Go error.
func invalid(format string, args ...any) error {
	return &fakes.Refusal{Kind: lifecycle.Invalid, Detail: fmt.Sprintf(format, args...)}
}

var (
	macAddress = regexp.MustCompile(`^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$`)
	nodeXName  = regexp.MustCompile(`^x[0-9]{1,4}c[0-7]s[0-9]+b[0-9]+n[0-9]+$`)
)

// checkDialect is what OpenCHAMI refuses and hms-bss does not.
func checkDialect(method string, p fakes.BootParams) error {
	for _, mac := range p.MACs {
		if !macAddress.MatchString(mac) && method != http.MethodDelete {
			return invalid("invalid MAC address format: %s\n", mac)
		}
	}
	for _, host := range p.Hosts {
		if !nodeXName.MatchString(host) && method == http.MethodPost {
			return invalid("invalid xname: %s", host)
		}
	}
	return nil
}

func (s *server) get(w http.ResponseWriter, r *http.Request) {
	sel, all, err := selection(r)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	var found []fakes.BootParams
	if all {
		found, err = s.store.All(r.Context())
	} else {
		found, err = s.store.Find(r.Context(), sel)
	}
	switch no := refusal(err); {
	case no != nil:
		problem(w, no.Kind.HTTPStatus(), no.Detail)
	case err != nil:
		fault(w, err)
	default:
		answer(w, found)
	}
}

// selection reads what a GET asks for, from the query and from a body, which a GET may have here.
func selection(r *http.Request) (sel fakes.BootParams, all bool, err error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return sel, false, invalid("Failed to receive request body: %v", err)
	}
	q := r.URL.Query()
	names, macs, nids := strings.Join(q["name"], ","), strings.Join(q["mac"], ","), strings.Join(q["nid"], ",")
	asked := names != "" || macs != "" || nids != ""
	if len(body) == 0 && !asked {
		return sel, true, nil
	}
	if err := json.Unmarshal(body, &sel); err != nil && !asked {
		return sel, false, invalid("Failed to interpret request body '%s': %v", body, err)
	}
	if names != "" {
		sel.Hosts = append(sel.Hosts, strings.Split(names, ",")...)
	}
	if macs != "" {
		sel.MACs = append(sel.MACs, strings.Split(macs, ",")...)
	}
	if nids != "" {
		for _, n := range strings.Split(nids, ",") {
			nid, err := strconv.ParseInt(n, 0, 32)
			if err != nil {
				return sel, false, invalid("Bad Request - Invalid nid '%s'", n)
			}
			sel.NIDs = append(sel.NIDs, int32(nid))
		}
	}
	return sel, false, nil
}

// written answers a write that named no error: an empty body, and the new referral token where there is one.
func written(w http.ResponseWriter, status int, token string) {
	if token != "" {
		w.Header().Set("Bss-Referral-Token", token)
	}
	w.Header().Set("Content-Type", typeJSON)
	w.WriteHeader(status)
}

func (s *server) put(w http.ResponseWriter, r *http.Request, p fakes.BootParams) {
	token, err := s.store.Put(r.Context(), p)
	if err != nil {
		fault(w, err)
		return
	}
	written(w, http.StatusOK, token)
}

func (s *server) post(w http.ResponseWriter, r *http.Request, p fakes.BootParams) {
	token, err := s.store.Post(r.Context(), p)
	switch no := refusal(err); {
	case no != nil:
		problem(w, http.StatusBadRequest, "Bad Request: "+no.Detail)
	case err != nil:
		fault(w, err)
	default:
		written(w, http.StatusCreated, token)
	}
}

func (s *server) patch(w http.ResponseWriter, r *http.Request, p fakes.BootParams) {
	pause := s.Race
	if pause == nil {
		pause = runtime.Gosched
	}
	err := s.store.Patch(r.Context(), p, pause)
	switch no := refusal(err); {
	case no != nil:
		problem(w, http.StatusNotFound, "Not Found: "+no.Detail)
	case err != nil:
		fault(w, err)
	default:
		written(w, http.StatusOK, "")
	}
}

func (s *server) delete(w http.ResponseWriter, r *http.Request, p fakes.BootParams) {
	err := s.store.Delete(r.Context(), p)
	switch no := refusal(err); {
	case no != nil:
		problem(w, http.StatusBadRequest, no.Detail)
	case err != nil:
		fault(w, err)
	default:
		written(w, http.StatusOK, "")
	}
}

func (s *server) history(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	lines, err := s.store.History(r.Context(), strings.Join(q["name"], ""), strings.Join(q["endpoint"], ""))
	switch no := refusal(err); {
	case no != nil:
		problem(w, http.StatusInternalServerError, no.Detail)
	case err != nil:
		fault(w, err)
	default:
		answer(w, lines)
	}
}

func (s *server) hosts(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		w.Header().Set("Content-Type", typeJSON)
		w.Header().Set("Cache-Control", "no-cache")
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		notAllowed(w, "GET,POST")
		return
	}
	var found []fakes.Component
	err := s.store.Node(r.Context(), "", func(v fakes.NodeView) (err error) {
		found, err = findHosts(v, r)
		return err
	})
	switch no := refusal(err); {
	case no != nil:
		problem(w, no.Kind.HTTPStatus(), no.Detail)
	case err != nil:
		fault(w, err)
	default:
		answer(w, found)
	}
}

// findHosts returns the components that the query names; the first that is unknown refuses them all.
func findHosts(v fakes.NodeView, r *http.Request) ([]fakes.Component, error) {
	var found []fakes.Component
	asked := false
	for _, by := range []struct {
		key, unknown string
		find         func(string) (fakes.Component, bool, error)
	}{
		{"name", "Unknown host name", func(n string) (fakes.Component, bool, error) { c, ok := v.ByName(n); return c, ok, nil }},
		{"mac", "Unknown MAC address", func(m string) (fakes.Component, bool, error) { c, ok := v.ByMAC(m); return c, ok, nil }},
		{"nid", "Unknown NID", func(n string) (fakes.Component, bool, error) {
			nid, err := strconv.ParseInt(n, 0, 64)
			c, ok := v.ByNID(nid)
			return c, ok, err
		}},
	} {
		value := strings.Join(r.URL.Query()[by.key], ",")
		if value == "" {
			continue
		}
		asked = true
		for _, one := range strings.Split(value, ",") {
			c, ok, err := by.find(one)
			if err != nil {
				return nil, invalid("Bad Request - Invalid nid '%s'", one)
			}
			if !ok {
				return nil, &fakes.Refusal{Kind: lifecycle.NotFound, Detail: fmt.Sprintf("Not Found - %s '%s'", by.unknown, one)}
			}
			found = append(found, c)
		}
	}
	if !asked {
		return v.Components(), nil
	}
	return found, nil
}

func (s *server) dumpState(w http.ResponseWriter, r *http.Request) {
	var state struct {
		Components []fakes.Component
		Params     []fakes.BootParams
	}
	params, err := s.store.All(r.Context())
	if err == nil {
		err = s.store.Node(r.Context(), "", func(v fakes.NodeView) error { state.Components = v.Components(); return nil })
	}
	if err != nil {
		fault(w, err)
		return
	}
	for _, p := range params {
		p.CloudInit = fakes.CloudInit{}
		state.Params = append(state.Params, p)
	}
	answer(w, state)
}

// errHangUp is a crash of the service: the connection ends without an answer.
var errHangUp = errors.New("the service crashed")

// service tells of the service itself. As in hms-bss, what is told follows from the words that the path contains.
func (s *server) service(w http.ResponseWriter, r *http.Request) {
	path := strings.ToUpper(r.URL.Path)
	has := func(word string) bool { return strings.Contains(path, word) || strings.Contains(path, "ALL") }
	var told struct {
		Version string            `json:"bss-version,omitempty"`
		Status  string            `json:"bss-status,omitempty"`
		HSM     string            `json:"bss-status-hsm,omitempty"`
		Etcd    string            `json:"bss-status-etcd,omitempty"`
		Storage map[string]string `json:"bss-storage-backend,omitempty"`
	}
	status := http.StatusOK
	if has("STATUS") && !strings.Contains(path, "STORAGE") {
		told.Status = "running"
	}
	if has("VERSION") {
		if told.Version = s.Version; s.Version == "" {
			told.Version, status = "error", http.StatusInternalServerError
		}
	}
	if has("HSM") {
		told.HSM = "connected"
		// Without an HSM to ask, the real service follows a nil pointer.
		if err := s.store.Node(r.Context(), "", crashesWithoutHSM); errors.Is(err, errHangUp) {
			hangUp(w)
			return
		}
	}
	switch {
	case s.OpenCHAMI && has("STORAGE"):
		told.Storage = map[string]string{"name": "etcd", "status": "connected"}
	case !s.OpenCHAMI && has("ETCD"):
		told.Etcd = "connected"
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(told)
}

func crashesWithoutHSM(v fakes.NodeView) error {
	if v.FromFile() {
		return errHangUp
	}
	return nil
}
