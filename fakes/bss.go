package fakes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
)

// bssStore is the state of the boot script service: what hms-bss keeps in its key-value store, and what it knows of the
// hardware. The cluster's lock guards it.
type bssStore struct {
	now     func() time.Time
	hosts   map[string]bootRecord
	before  map[string]*bootRecord // what was there before the last write, for stale reads; nil: nothing was
	images  map[string]bootImage   // by imageKey
	fetches map[string]int64       // by fetchKey, in Unix seconds
	tokens  int                    // referral tokens handed out
	hsm     hardware

	decoded  map[string]bss.CloudInit // of records, by their text; never handed out
	global   map[string]any           // Global meta-data as /meta-data remembers them
	globalAt int64                    // since when, in Unix seconds
}

// bootRecord is what is kept for one host. It is never changed in place.
type bootRecord struct {
	params, kernel, initrd string
	cloudInit              string // the JSON of a CloudInit
	token                  string
}

// bootImage is a kernel or initrd that some write named, with the parameters of everybody who boots it.
type bootImage struct{ path, params string }

const (
	kernelImage = "kernel"
	initrdImage = "initrd"
)

func newBSSStore(now func() time.Time) *bssStore {
	return &bssStore{
		now:   now,
		hosts: map[string]bootRecord{}, before: map[string]*bootRecord{}, images: map[string]bootImage{}, fetches: map[string]int64{},
		decoded: map[string]bss.CloudInit{},
	}
}

// imageKey is the key of hms-bss, which decides the order in which the images are listed: by the FNV-1a hash of the path.
func imageKey(kind, path string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(path))
	return fmt.Sprintf("/%s/%x", kind, h.Sum64())
}

func fetchKey(xname, endpoint string) string { return xname + "/" + endpoint }

// install makes the node known to the hardware inventory, and gives it the entry that an installation writes.
func (s *bssStore) install(n lifecycle.Node, params string) {
	s.hsm.add(n)
	family := "k8s"
	if n.Role == lifecycle.Storage {
		family = "ceph"
	}
	s.put(n.XName, BootParams{
		Params: params,
		Kernel: "s3://ncn-images/" + family + "/0.1.109/kernel", Initrd: "s3://ncn-images/" + family + "/0.1.109/initrd",
		CloudInit: CloudInit{
			MetaData: map[string]any{"local-hostname": n.Name, "shasta-role": "ncn-" + string(n.Role), "xname": n.XName},
			UserData: map[string]any{"hostname": n.Name},
		},
	}, s.token())
	delete(s.before, n.XName)
}

// params returns the kernel command line that the host boots with: its own, then that of its kernel and its initrd.
func (s *bssStore) params(xname string) (string, bool) {
	d, ok := s.data(xname)
	return d.CommandLine(), ok
}

// fetched notes that the node fetched the endpoint. The service counts whole seconds; a cluster whose machines boot in less
// would look as if it had not booted again, so a second fetch in one second counts as one of the next.
func (s *bssStore) fetched(xname, endpoint string) {
	key := fetchKey(xname, endpoint)
	s.fetches[key] = max(s.now().Unix(), s.fetches[key]+1)
}

// phoneHome is a node announcing itself, as its own cloud-init does; a node without an entry is not heard.
func (s *bssStore) phoneHome(xname, name, key string) {
	r, ok := s.hosts[xname]
	if !ok {
		return
	}
	ci := r.decode()
	ci.PhoneHome = PhoneHome{ED25519: key, InstanceID: xname, Hostname: name, FQDN: name + ".nmn"}
	r.cloudInit = encodeCloudInit(ci)
	s.hosts[xname] = r
}

// patch is PATCH for one host, atomic as face 1 wants it.
func (s *bssStore) patch(p bss.Patch) error {
	change := BootParams{Hosts: []string{p.Host}, Params: p.Params, Kernel: p.Kernel, Initrd: p.Initrd}
	if p.CloudInit != nil {
		if err := json.Unmarshal(p.CloudInit, &change.CloudInit); err != nil {
			return &Refusal{lifecycle.Invalid, err.Error()}
		}
	}
	s.storeImages(change)
	old, err := s.find(p.Host)
	if err != nil {
		return err
	}
	s.write(p.Host, old, old.merge(change))
	return nil
}

// find returns what is kept for a host, or the refusal of hms-bss.
func (s *bssStore) find(host string) (bootRecord, error) {
	r, ok := s.hosts[host]
	if !ok {
		return r, &Refusal{lifecycle.NotFound, fmt.Sprintf("Error looking up %s: Key /params/%s does not exist", host, host)}
	}
	return r, nil
}

// read is find for a call that a stale read may have been armed for.
func (s *bssStore) read(host string, stale bool) (bootRecord, bool) {
	if old, written := s.before[host]; stale && written {
		if old == nil {
			return bootRecord{}, false
		}
		return *old, true
	}
	r, ok := s.hosts[host]
	return r, ok
}

func (s *bssStore) remember(host string) {
	s.before[host] = nil
	if r, ok := s.hosts[host]; ok {
		s.before[host] = &r
	}
}

// put replaces the whole entry of a host.
func (s *bssStore) put(host string, p BootParams, token string) {
	s.storeImages(p)
	s.remember(host)
	s.hosts[host] = bootRecord{p.Params, p.Kernel, p.Initrd, encodeCloudInit(p.CloudInit), token}
}

// write stores what a merge made of old. As in hms-bss, a change that changes nothing is not stored.
func (s *bssStore) write(host string, old, changed bootRecord) {
	if old != changed {
		s.remember(host)
		s.hosts[host] = changed
	}
}

func (s *bssStore) storeImages(p BootParams) {
	for _, i := range []struct{ kind, path string }{{kernelImage, p.Kernel}, {initrdImage, p.Initrd}} {
		key := imageKey(i.kind, i.path)
		if _, ok := s.images[key]; !ok && i.path != "" {
			s.images[key] = bootImage{path: i.path}
		}
	}
}

// setImageParams is a write that names no host: the parameters become those of the kernel, or else of the initrd.
func (s *bssStore) setImageParams(p BootParams) {
	s.storeImages(p)
	switch {
	case p.Kernel != "":
		s.images[imageKey(kernelImage, p.Kernel)] = bootImage{p.Kernel, p.Params}
	case p.Initrd != "":
		s.images[imageKey(initrdImage, p.Initrd)] = bootImage{p.Initrd, p.Params}
	}
}

// listImages returns the images of a kind in the order of their keys, as etcd does.
func (s *bssStore) listImages(kind string) []bootImage {
	var list []bootImage
	for _, key := range slices.Sorted(maps.Keys(s.images)) {
		if i := s.images[key]; key == imageKey(kind, i.path) {
			list = append(list, i)
		}
	}
	return list
}

// token returns a new referral token. Tokens look random, and are the same in every run.
func (s *bssStore) token() string {
	s.tokens++
	return uuidOf("bss-referral-token", s.tokens)
}

// data returns what the host boots.
func (s *bssStore) data(host string) (BootData, bool) {
	r, ok := s.hosts[host]
	if !ok {
		return BootData{}, false
	}
	return BootData{
		BootParams:   r.print(host),
		KernelParams: s.images[imageKey(kernelImage, r.kernel)].params,
		InitrdParams: s.images[imageKey(initrdImage, r.initrd)].params,
		Token:        r.token,
	}, true
}

func (r bootRecord) decode() CloudInit {
	var ci CloudInit
	_ = json.Unmarshal([]byte(r.cloudInit), &ci) // encodeCloudInit wrote it
	return ci
}

func encodeCloudInit(ci CloudInit) string {
	b, _ := json.Marshal(ci) // what was decoded from JSON can be encoded
	return string(b)
}

// print returns the record as GET shows it.
func (r bootRecord) print(host string) BootParams {
	return BootParams{Hosts: []string{host}, Params: r.params, Kernel: r.kernel, Initrd: r.initrd, CloudInit: r.decode()}
}

// merge returns what PATCH makes of the record: empty scalars and empty cloud-init objects leave alone what is there.
func (r bootRecord) merge(p BootParams) bootRecord {
	r.params, r.kernel, r.initrd = cmp.Or(p.Params, r.params), cmp.Or(p.Kernel, r.kernel), cmp.Or(p.Initrd, r.initrd)
	ci := r.decode()
	ci.MetaData = mergeCloudData(ci.MetaData, p.CloudInit.MetaData)
	ci.UserData = mergeCloudData(ci.UserData, p.CloudInit.UserData)
	if p.CloudInit.PhoneHome != (PhoneHome{}) {
		ci.PhoneHome = p.CloudInit.PhoneHome
	}
	r.cloudInit = encodeCloudInit(ci)
	return r
}

// mergeCloudData is what hms-bss calls a merge: where nothing is stored, the patch is taken as it is, nulls and all.
func mergeCloudData(stored, patch map[string]any) map[string]any {
	switch {
	case len(patch) == 0:
		return stored
	case len(stored) == 0:
		return patch
	}
	return mergePatch(stored, patch)
}

// mergePatch is RFC 7386 on objects.
func mergePatch(target, patch map[string]any) map[string]any {
	out := maps.Clone(target)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case map[string]any:
			old, _ := out[k].(map[string]any)
			out[k] = mergePatch(old, v)
		default:
			out[k] = v
		}
	}
	return out
}

// BSS returns the boot script service as the bss package wants it, with writes that are atomic. Each call returns a client
// of its own: like [bss.Client] it is a [bss.Locker], for those who share it.
func (c *Cluster) BSS() bss.API { return &bssFace{c: c} }

type bssFace struct {
	bss.HostLocks
	c *Cluster
}

func (f *bssFace) Get(ctx context.Context, host string) (bss.Entry, error) {
	if err := bss.CheckHost(host); err != nil {
		return bss.Entry{}, lifecycle.Wrap(err, "bss.Get", "")
	}
	var entry bss.Entry
	err := f.c.do(ctx, Call{Op: BSSGet, Host: f.c.nameOf(host)}, func(call *Call) error {
		r, ok := f.c.bss.read(host, call.fault.stale)
		if !ok {
			return &Refusal{lifecycle.NotFound, "Cannot find boot parameters for requested Hosts"}
		}
		entry = f.c.bss.entry(host, r)
		return nil
	})
	return entry, lifecycle.Wrap(err, "bss.Get", host)
}

// entry returns the record as [bss.Client] decodes it. Whoever waits for a node asks often, so what was decoded is kept.
func (s *bssStore) entry(host string, r bootRecord) bss.Entry {
	ci, ok := s.decoded[r.cloudInit]
	if !ok {
		dec := json.NewDecoder(strings.NewReader(r.cloudInit))
		dec.UseNumber()
		_ = dec.Decode(&ci) // encodeCloudInit wrote it
		if len(s.decoded) >= 1000 {
			clear(s.decoded)
		}
		s.decoded[r.cloudInit] = ci
	}
	ci.MetaData, ci.UserData = cloneMap(ci.MetaData), cloneMap(ci.UserData)
	return bss.Entry{Hosts: []string{host}, Params: r.params, Kernel: r.kernel, Initrd: r.initrd, CloudInit: ci}
}

func cloneMap(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	return cloneValue(m).(map[string]any)
}

// cloneValue copies what came from JSON.
func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, member := range v {
			out[key] = cloneValue(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = cloneValue(element)
		}
		return out
	}
	return v
}

func (f *bssFace) Patch(ctx context.Context, p bss.Patch) error {
	if err := bss.CheckHost(p.Host); err != nil {
		return lifecycle.Wrap(err, "bss.Patch", "")
	}
	err := f.c.do(ctx, Call{Op: BSSPatch, Host: f.c.nameOf(p.Host), Writes: true, Detail: p.Params}, func(*Call) error {
		return f.c.bss.patch(p)
	})
	return lifecycle.Wrap(err, "bss.Patch", p.Host)
}

func (f *bssFace) Put(ctx context.Context, e bss.Entry) error {
	if len(e.Hosts) != 1 {
		return lifecycle.Errorf(lifecycle.Invalid, "bss.Put", "", "an entry is put for exactly one host; got %d", len(e.Hosts))
	}
	host := e.Hosts[0]
	if err := bss.CheckHost(host); err != nil {
		return lifecycle.Wrap(err, "bss.Put", "")
	}
	var p BootParams
	text, err := json.Marshal(e)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return lifecycle.Errorf(lifecycle.Invalid, "bss.Put", host, "the entry cannot be written as JSON: %w", err)
	}
	err = f.c.do(ctx, Call{Op: BSSPut, Host: f.c.nameOf(host), Writes: true, Detail: e.Params}, func(*Call) error {
		f.c.bss.put(host, p, f.c.bss.token())
		return nil
	})
	return lifecycle.Wrap(err, "bss.Put", host)
}

func (f *bssFace) LastFetch(ctx context.Context, host, endpoint string) (int64, error) {
	if err := bss.CheckHost(host); err != nil {
		return 0, lifecycle.Wrap(err, "bss.LastFetch", "")
	}
	if endpoint != bss.BootScript && endpoint != bss.UserData {
		return 0, lifecycle.Errorf(lifecycle.Invalid, "bss.LastFetch", host, "%q is not recorded: want %s or %s", endpoint, bss.BootScript, bss.UserData)
	}
	var epoch int64
	err := f.c.do(ctx, Call{Op: BSSHistory, Host: f.c.nameOf(host)}, func(*Call) error {
		epoch = f.c.bss.fetches[fetchKey(host, endpoint)]
		return nil
	})
	return epoch, lifecycle.Wrap(err, "bss.LastFetch", host)
}

// nameOf returns the node's name for its xname, for faults and records; names that are no node's stay as they are.
func (c *Cluster) nameOf(xname string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.byXName[xname]; m != nil {
		return m.node.Name
	}
	return xname
}
