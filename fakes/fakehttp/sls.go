package fakehttp

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle/fakes"
)

// routeSLS serves the part of hms-sls that finds nodes.
func (s *server) routeSLS(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/liveness", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /v1/health", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Vault":"Not checked","DBConnection":"Ready"}`)
	})
	mux.HandleFunc("GET /v1/search/hardware", s.searchHardware)
	mux.HandleFunc("GET /v1/hardware", func(w http.ResponseWriter, r *http.Request) {
		s.withHardware(w, r, func(all []fakes.Hardware) { answerSLS(w, all) })
	})
	mux.HandleFunc("GET /v1/hardware/{xname}", s.getHardware)
	mux.HandleFunc("POST /v1/hardware", s.postHardware)
}

// answerSLS sends v as SLS does: JSON without a newline.
func answerSLS(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		problem(w, http.StatusInternalServerError, "JSON marshal error")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(text)
}

// withHardware gives f what SLS knows: what was loaded in its own order, else the cluster's nodes by xname.
func (s *server) withHardware(w http.ResponseWriter, r *http.Request, f func([]fakes.Hardware)) {
	nodes, err := s.Cluster.Nodes(r.Context())
	if err != nil {
		fault(w, err)
		return
	}
	s.mu.Lock()
	if !s.slsSet {
		s.slsSet = true
		s.sls, s.slsErr = parseSLS(s.SLS)
		if s.SLS == nil {
			now := time.Now()
			for _, n := range nodes {
				s.sls = append(s.sls, stamped(s.Cluster.HardwareOf(n), now))
			}
			sortHardware(s.sls)
		}
	}
	all, err := slices.Clone(s.sls), s.slsErr
	s.mu.Unlock()
	if err != nil {
		problem(w, http.StatusInternalServerError, "fakehttp.Config.SLS is not what SLS prints: "+err.Error())
		return
	}
	f(all)
}

func parseSLS(text []byte) ([]fakes.Hardware, error) {
	if text == nil {
		return nil, nil
	}
	var all []fakes.Hardware
	err := json.Unmarshal(text, &all)
	return all, err
}

func stamped(h fakes.Hardware, now time.Time) fakes.Hardware {
	h.LastUpdated, h.LastUpdatedTime = now.Unix(), now.UTC().Round(time.Microsecond).String()
	return h
}

func sortHardware(all []fakes.Hardware) {
	slices.SortFunc(all, func(a, b fakes.Hardware) int { return strings.Compare(a.XName, b.XName) })
}

// searchHardware compares text: a property that is a list equals nothing (hms-sls, SearchGenericHardware).
func (s *server) searchHardware(w http.ResponseWriter, r *http.Request) {
	wanted := map[string]string{}
	for key, values := range r.URL.Query() {
		property, isProperty := strings.CutPrefix(key, "extra_properties.")
		if isProperty && property == "" {
			problem(w, http.StatusBadRequest, "ExtraProperties search did not include the field name. "+
				"The ExtraProperties query should be of the form: extra_properties.{fieldname}={value}")
			return
		}
		if isProperty || slices.Contains([]string{"xname", "parent", "type", "class"}, key) {
			wanted[key] = values[0]
		}
	}
	if len(wanted) == 0 {
		problem(w, http.StatusBadRequest, "no conditions/properties with which to search")
		return
	}
	s.withHardware(w, r, func(all []fakes.Hardware) {
		var found []fakes.Hardware
		for _, h := range all {
			if matches(h, wanted) {
				found = append(found, h)
			}
		}
		answerSLS(w, found)
	})
}

func matches(h fakes.Hardware, wanted map[string]string) bool {
	for key, want := range wanted {
		got := map[string]string{"xname": h.XName, "parent": h.Parent, "type": h.Type, "class": h.Class}[key]
		if property, ok := strings.CutPrefix(key, "extra_properties."); ok {
			v, there := h.ExtraProperties[property]
			if !there || v == nil {
				return false
			}
			if got, ok = v.(string); !ok {
				text, _ := json.Marshal(v) // it came from JSON
				got = string(text)
			}
		}
		if got != want {
			return false
		}
	}
	return true
}

// componentXName matches the xnames from cabinet to node.
var componentXName = regexp.MustCompile(`^x[0-9]{1,4}(c[0-7](s[0-9]+(b[0-9]+(n[0-9]+)?)?)?)?$`)

func (s *server) getHardware(w http.ResponseWriter, r *http.Request) {
	xname := r.PathValue("xname")
	if !componentXName.MatchString(xname) {
		problem(w, http.StatusBadRequest, "invalid xname")
		return
	}
	s.withHardware(w, r, func(all []fakes.Hardware) {
		i := slices.IndexFunc(all, func(h fakes.Hardware) bool { return h.XName == xname })
		if i < 0 {
			problem(w, http.StatusNotFound, "no such component not in DB")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(all[i]) // alone here it ends in a newline
	})
}

// postHardware inserts a node.
func (s *server) postHardware(w http.ResponseWriter, r *http.Request) {
	var h fakes.Hardware
	switch err := json.NewDecoder(r.Body).Decode(&h); {
	case err != nil:
		problem(w, http.StatusBadRequest, "error decoding JSON")
		return
	case h.XName == "":
		problem(w, http.StatusBadRequest, "missing required Xname field")
		return
	case !nodeXName.MatchString(h.XName):
		problem(w, http.StatusBadRequest, "invalid Xname field")
		return
	case h.Class == "":
		problem(w, http.StatusBadRequest, "missing required Class field")
		return
	case !slices.Contains([]string{"River", "Mountain", "Hill"}, h.Class):
		problem(w, http.StatusBadRequest, "invalid Class field")
		return
	}
	h.Parent, h.Type, h.TypeString = h.XName[:strings.LastIndexByte(h.XName, 'n')], "comptype_node", "Node"
	s.withHardware(w, r, func([]fakes.Hardware) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if slices.ContainsFunc(s.sls, func(old fakes.Hardware) bool { return old.XName == h.XName }) {
			problem(w, http.StatusConflict, "object already exists")
			return
		}
		s.sls = append(s.sls, stamped(h, time.Now()))
		if s.SLS == nil {
			sortHardware(s.sls)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"code":0,"message":"inserted new entry"}`+"\n")
	})
}
