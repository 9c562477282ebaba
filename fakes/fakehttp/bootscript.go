package fakehttp

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
)

// caller is who asks for a boot script, and with which words.
type caller struct {
	mac, name, arch string
	nid             int64
	retry, ts       int64
	path            string
	descr           string
	comp            fakes.Component
	data            fakes.BootData
}

// bootScript answers with the iPXE script of a node (hms-bss, BootscriptGet).
func (s *server) bootScript(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	c := caller{
		mac: strings.Join(q["mac"], ""), name: strings.Join(q["name"], ""), arch: strings.Join(q["arch"], ""),
		nid: number(q["nid"], -1), retry: number(q["retry"], 0), ts: number(q["ts"], time.Now().Unix()), path: r.URL.Path,
	}
	if c.mac == "" && c.name == "" && c.nid < 0 {
		problem(w, http.StatusBadRequest, "Need a mac=, name=, or nid= parameter")
		return
	}
	var script string
	err := s.store.Node(r.Context(), c.name, func(v fakes.NodeView) (err error) {
		c.lookUp(v)
		var booting bool
		if script, booting, err = s.scriptFor(v, c); err == nil && booting {
			v.Fetched(c.comp.ID, "bootscript")
		}
		return err
	})
	switch no := refusal(err); {
	case no != nil:
		problem(w, http.StatusNotFound, no.Detail)
	case err != nil:
		fault(w, err)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.WriteHeader(http.StatusOK)
		_, _ = fmt.Fprintln(w, script)
	}
}

func number(values []string, otherwise int64) int64 {
	n, err := strconv.ParseInt(strings.Join(values, ""), 0, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// lookUp finds the caller's component, and what it boots: its own entry, its role's, or the default.
func (c *caller) lookUp(v fakes.NodeView) {
	key := c.name
	switch {
	case c.mac != "":
		c.comp, _ = v.ByMAC(c.mac)
		key, c.descr = c.mac, "MAC "+c.mac
	case c.name != "":
		c.comp, _ = v.ByName(c.name)
		c.descr = c.name
	default:
		c.comp, _ = v.ByNID(c.nid)
		key, c.descr = fmt.Sprintf("nid%d", c.nid), fmt.Sprintf("NID %d", c.nid)
	}
	if c.comp.ID != "" && c.comp.ID != c.name {
		c.descr += " (" + c.comp.ID + ")"
	}
	c.data = v.Lookup(cmp.Or(c.comp.ID, key), key, c.comp.Role, "Default")
}

// scriptFor returns the script, and whether it boots the caller; otherwise it makes it ask again.
func (s *server) scriptFor(v fakes.NodeView, c caller) (script string, booting bool, err error) {
	if c.comp.ID == "" || !c.comp.EndpointEnabled || c.data.Kernel == "" {
		script, booting, err = s.discovery(v, c)
		if err == nil || c.comp.ID == "" {
			return script, booting, err
		}
	}
	if c.mac == "" && len(c.comp.MAC) > 0 {
		c.mac = c.comp.MAC[0]
	}
	again := "?name=" + c.comp.ID
	if c.mac != "" {
		again = "?mac=" + c.mac
	}
	script, err = s.build(c, c.data, fmt.Sprintf("chain %s%s%s&retry=%d", s.Chain, c.path, again, c.retry+1))
	return script, true, err
}

// discovery is for a node that is not known or not set up: it is asked for its architecture, and then gets what there is
// for unknown nodes of that architecture.
func (s *server) discovery(v fakes.NodeView, c caller) (script string, booting bool, err error) {
	mac, name := c.mac, cmp.Or(c.name, c.comp.ID)
	for _, m := range c.comp.MAC {
		mac = cmp.Or(mac, m)
	}
	again := fmt.Sprintf("?nid=%d", c.nid)
	switch {
	case mac != "":
		again = "?mac=" + mac
	case name != "":
		again = "?name=" + name
	}
	chain := fmt.Sprintf("chain %s/boot/v1/bootscript%s&arch=${buildarch}&ts=%d", s.Chain, again, c.ts)
	if c.arch == "" {
		return "#!ipxe\nsleep 1\n" + chain + "\n", false, nil
	}
	c.descr = "Unknown " + c.descr + " architecture " + c.arch
	unknown := c
	unknown.comp = fakes.Component{}
	data := v.Lookup("Unknown-" + c.arch)
	data.Token = ""
	script, err = s.build(unknown, data, chain)
	return script, true, err
}

// build writes the script that boots (hms-bss, buildBootScript).
func (s *server) build(c caller, d fakes.BootData, chain string) (string, error) {
	if d.Kernel == "" {
		return "", &fakes.Refusal{Kind: lifecycle.NotFound, Detail: c.descr + ": this host not configured for booting."}
	}
	now := time.Now().UTC()
	params := d.CommandLine()
	for _, add := range []struct{ key, value string }{
		{"xname=", c.comp.ID}, {"nid=", c.comp.NID.String()}, {"bss_referral_token=", d.Token}, {"ds=", "nocloud-net;s=" + s.Advertise + "/"},
	} {
		if add.value != "" && !hasParam(params, add.key) {
			params += " " + add.key + add.value
		}
	}
	params = s3Param.ReplaceAllStringFunc(params, func(m string) string {
		at := strings.Index(m, "s3://")
		if u, err := s.sign(m[at:], now); err == nil {
			return m[:at] + u
		}
		return m
	})
	if d.Initrd != "" {
		params = "initrd=initrd " + dropInitrd(params)
	}
	kernel, err := s.sign(d.Kernel, now)
	if err != nil {
		return "", err
	}
	lines := []string{"#!ipxe", "kernel --name kernel " + kernel + " " + strings.Trim(params, " ") + " || goto boot_retry"}
	if d.Initrd != "" {
		initrd, err := s.sign(d.Initrd, now)
		if err != nil {
			return "", err
		}
		lines = append(lines, "initrd --name initrd "+initrd+" || goto boot_retry")
		if !s.OpenCHAMI {
			lines = append(lines, "imgstat || echo Could not show image information.")
		}
	}
	lines = append(lines, "boot || goto boot_retry", ":boot_retry", "sleep 1", chain, "")
	return strings.Join(lines, "\n"), nil
}

func hasParam(params, key string) bool {
	for _, word := range strings.Split(params, " ") {
		if strings.HasPrefix(word, key) {
			return true
		}
	}
	return false
}

// dropInitrd takes the first word part that begins with "initrd" away: the script brings its own.
func dropInitrd(params string) string {
	before, after, found := strings.Cut(params, "initrd")
	if !found {
		return params
	}
	_, after, more := strings.Cut(after, " ")
	if more {
		after = " " + after
	}
	return before + after
}

// s3Param finds the parameters in which an s3:// URL is replaced by one that is signed.
var s3Param = regexp.MustCompile(`(^| )(metal\.server=|root=live:)s3://[^ ]*`)

// sign returns a URL for the node to fetch: for an s3:// URL one in the form of an AWS signature version 4. The signature
// is a hash of what is signed, always the same for the same second; no object store would accept it.
func (s *server) sign(raw string, now time.Time) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || !strings.EqualFold(u.Scheme, "s3") {
		return raw, nil //nolint:nilerr // what is no URL is no s3:// URL
	}
	if s.S3 == nil {
		return "", &fakes.Refusal{Kind: lifecycle.NotFound, Detail: "EmptyStaticCreds: static credentials are empty"}
	}
	region := cmp.Or(s.S3.Region, "default")
	signed := fmt.Sprintf("%s/%s%s?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%s%%2F%s%%2F%s%%2Fs3%%2Faws4_request&X-Amz-Date=%s"+
		"&X-Amz-Expires=86400&X-Amz-SignedHeaders=host", s.S3.Endpoint, u.Host, u.Path, url.QueryEscape(s.S3.AccessKey),
		now.Format("20060102"), region, now.Format("20060102T150405Z"))
	sum := sha256.Sum256([]byte(signed))
	return signed + "&X-Amz-Signature=" + hex.EncodeToString(sum[:]), nil
}
