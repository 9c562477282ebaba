package fakehttp

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
)

// callerIP returns the address by which a node is recognised: the last that a proxy forwarded, else the peer's.
func callerIP(r *http.Request) string {
	if forwarded := r.Header.Get("X-Forwarded-For"); forwarded != "" {
		parts := strings.Split(forwarded, ",")
		return strings.TrimSpace(parts[len(parts)-1])
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

var errNoKey = &fakes.Refusal{Kind: lifecycle.NotFound, Detail: "Not Found"}

// metaData answers cloud-init, and questions for one key ("Global.first-master-hostname").
func (s *server) metaData(w http.ResponseWriter, r *http.Request) {
	var value any
	err := s.store.Node(r.Context(), "", func(v fakes.NodeView) (err error) {
		value, err = metaDataFor(v, callerIP(r), r.URL.Query()["key"])
		return err
	})
	switch no := refusal(err); {
	case no != nil:
		problem(w, http.StatusNotFound, no.Detail)
	case err != nil:
		fault(w, err)
	default:
		w.WriteHeader(http.StatusOK)
		_ = json.NewEncoder(w).Encode(value)
	}
}

func metaDataFor(v fakes.NodeView, ip string, keys []string) (any, error) {
	data := map[string]any{"Global": v.Global()}
	var path []string
	if len(keys) > 0 {
		path = strings.Split(keys[0], ".")
	}
	if len(path) == 0 || path[0] != "Global" {
		own, _ := nodeData(v, ip)
		role, _ := own.MetaData["shasta-role"].(string)
		merged := mergeOver(v.Lookup(role).CloudInit.MetaData, own.MetaData)
		merged["Global"] = data["Global"]
		data = merged
	}
	var at any = data
	for _, key := range path {
		object, _ := at.(map[string]any)
		next, ok := object[key]
		if !ok {
			return nil, errNoKey
		}
		at = next
	}
	return at, nil
}

// nodeData returns the cloud-init data of the node that calls, with what the service adds to its meta-data. A caller that
// is not recognised gets those of "Default".
func nodeData(v fakes.NodeView, ip string) (fakes.CloudInit, string) {
	xname, known := v.XName(ip)
	comp, found := v.ByName(xname)
	data := v.Lookup(xname, comp.Role, "Default").CloudInit
	if data.MetaData == nil {
		data.MetaData = map[string]any{}
	}
	data.MetaData["instance-id"] = v.InstanceID(xname)
	if !known || !found {
		return data, xname
	}
	for key, value := range map[string]string{"local-hostname": xname, "shasta-type": comp.Role, "shasta-role": comp.SubRole} {
		if data.MetaData[key] == nil {
			data.MetaData[key] = value
		}
	}
	return data, xname
}

// mergeOver lays the node's own data over those of its role; only objects are merged.
func mergeOver(under, over map[string]any) map[string]any {
	if under == nil {
		under = map[string]any{}
	}
	for key, value := range over {
		u, isObject := under[key].(map[string]any)
		if o, ok := value.(map[string]any); ok && isObject {
			value = mergeOver(u, o)
		}
		under[key] = value
	}
	return under
}

// userData answers cloud-init with #cloud-config.
func (s *server) userData(w http.ResponseWriter, r *http.Request) {
	var text string
	err := s.store.Node(r.Context(), "", func(v fakes.NodeView) error {
		own, xname := nodeData(v, callerIP(r))
		role, _ := own.MetaData["shasta-role"].(string)
		merged := mergeOver(v.Lookup(role).CloudInit.UserData, own.UserData)
		if name := own.MetaData["local-hostname"]; merged["local-hostname"] == nil && name != nil {
			merged["local-hostname"] = name
		}
		text = "#cloud-config\n" + toYAML(merged)
		v.Fetched(xname, "user-data")
		return nil
	})
	if err != nil {
		fault(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/yaml")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, text)
}

// phoneHome stores what a node announces of itself.
func (s *server) phoneHome(w http.ResponseWriter, r *http.Request) {
	var said fakes.PhoneHome
	if json.NewDecoder(r.Body).Decode(&said) != nil {
		problem(w, http.StatusBadRequest, "Bad Request")
		return
	}
	var stored fakes.BootParams
	err := s.store.Node(r.Context(), "", func(v fakes.NodeView) (err error) {
		xname, ok := v.XName(callerIP(r))
		if !ok {
			return &fakes.Refusal{Kind: lifecycle.NotFound, Detail: "XName not found for IP"}
		}
		if stored, err = v.PhoneHome(xname, said); err != nil {
			return &fakes.Refusal{Kind: lifecycle.NotFound, Detail: "Not Found: " + err.Error()}
		}
		return nil
	})
	switch no := refusal(err); {
	case no != nil:
		problem(w, http.StatusNotFound, no.Detail)
	case err != nil:
		fault(w, err)
	default:
		answer(w, stored)
	}
}
