package bss

import (
	"net/url"
	"regexp"

	"github.com/ncnkit/lifecycle"
)

// Image names what a management node boots. Two generations of CSM keep images in two ways:
//
//	             Path                           Version           kernel, initrd                        metal.server
//	CSM ≤ 1.2    ncn-images/k8s (or …/ceph)     0.1.110           s3://<Path>/<Version>/{kernel,initrd} http://rgw-vip.nmn/<Path>/<Version>
//	CSM ≥ 1.4    boot-images                    the image's UUID  s3://<Path>/<Version>/{kernel,initrd} s3://<Path>/<Version>/rootfs
//
// In the older form k8s is for masters and workers, ceph for storage, and the host of metal.server is kept when the
// present one is http. It is a plain value.
type Image struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

const (
	imsPath       = "boot-images"
	metalServer   = "metal.server"
	defaultServer = "http://rgw-vip.nmn"
)

var (
	families = map[string]string{"ncn-images/k8s": "k8s", "ncn-images/ceph": "ceph"}
	version  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`)
	dots     = regexp.MustCompile(`\.\.`)
	imageID  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	hostPort = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
)

// Check refuses, as Invalid, an image that has none of the two forms: both parts land on a kernel command line.
func (i Image) Check() error {
	_, older := families[i.Path]
	switch {
	case i.Path == imsPath && imageID.MatchString(i.Version):
	case older && version.MatchString(i.Version) && !dots.MatchString(i.Version):
	case i.Path == imsPath:
		return lifecycle.Errorf(lifecycle.Invalid, "bss.Image", "", "the version of an image in %s is its IMS identifier, a UUID in lower case; got %q", imsPath, i.Version)
	case older:
		return lifecycle.Errorf(lifecycle.Invalid, "bss.Image", "", "%q is no image version: want one such as 0.1.110", i.Version)
	default:
		return lifecycle.Errorf(lifecycle.Invalid, "bss.Image", "", "%q is no image path: want ncn-images/k8s, ncn-images/ceph or %s", i.Path, imsPath)
	}
	return nil
}

// Kernel returns the kernel's place in S3.
func (i Image) Kernel() string { return "s3://" + i.Path + "/" + i.Version + "/kernel" }

// Initrd returns the initial RAM disk's place in S3.
func (i Image) Initrd() string { return "s3://" + i.Path + "/" + i.Version + "/initrd" }

// Server returns the value that metal.server has for the image, on the boot script service and, in the older form, on the
// command line of a node that booted it. (The service signs s3 addresses, so a node of the newer form shows an http address
// whose path is the same.) Present is the value so far, of which an http host is kept; it may be empty.
func (i Image) Server(present string) string {
	if i.Path == imsPath {
		return "s3://" + i.Path + "/" + i.Version + "/rootfs"
	}
	server := defaultServer
	u, err := url.Parse(present)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.User == nil && hostPort.MatchString(u.Host) {
		server = u.Scheme + "://" + u.Host
	}
	return server + "/" + i.Path + "/" + i.Version
}

// SetImage makes e boot img: kernel, initrd, and exactly one metal.server. Nothing else on the command line changes. It
// does no I/O; use it inside [Update]. Invalid: an image that [Image.Check] refuses, and one of the wrong family, such as
// ceph for a worker. Entry e is unchanged then.
func SetImage(e *Entry, role lifecycle.Role, img Image) error {
	if err := img.Check(); err != nil {
		return lifecycle.Wrap(err, "bss.SetImage", "")
	}
	want := "k8s"
	switch role {
	case lifecycle.Master, lifecycle.Worker:
	case lifecycle.Storage:
		want = "ceph"
	default:
		return lifecycle.Errorf(lifecycle.Invalid, "bss.SetImage", "", "no image belongs to the role %q: want master, worker or storage", role)
	}
	if family, older := families[img.Path]; older && family != want {
		return lifecycle.Errorf(lifecycle.Invalid, "bss.SetImage", "", "%s is not for a %s node: want ncn-images/%s", img.Path, role, want)
	}
	p := ParseParams(e.Params)
	present, _ := p.Get(metalServer)
	if err := p.Set(metalServer, img.Server(present)); err != nil {
		return lifecycle.Wrap(err, "bss.SetImage", "")
	}
	e.Params, e.Kernel, e.Initrd = p.String(), img.Kernel(), img.Initrd()
	return nil
}
