package backup

import "path"

// Option changes how an archive is made and judged. Give the same to all functions that touch one backup, so that what
// was accepted when it was made is accepted when it is needed.
type Option func(*options)

type options struct {
	limits     Limits
	allowEmpty bool
	linksTo    []string
}

// Limits are what an archive may hold at most. A field that is 0 means the default.
type Limits struct {
	Entries int   // files, directories and links; 1,000,000
	Bytes   int64 // of the plain tar; 256 GiB
	Ratio   int64 // bytes of plain tar per byte of archive, looked at beyond the first 64 MiB; 1,000
}

// ratioFloor is the size in bytes up to which a plain tar may be compressed as much as it likes.
const ratioFloor = 64 << 20

// WithLimits replaces the default limits.
func WithLimits(l Limits) Option {
	return func(o *options) { o.limits = l }
}

// AllowEmpty lets [Create] store an archive that holds no file.
func AllowEmpty() Option {
	return func(o *options) { o.allowEmpty = true }
}

// LinksTo accepts symbolic links that leave the archive, when they lead to one of these absolute directories or into
// it: the "block" of a Ceph OSD's directory is a link into /dev. [Extract] leaves such links out.
func LinksTo(dirs ...string) Option {
	return func(o *options) {
		for _, dir := range dirs {
			o.linksTo = append(o.linksTo, path.Clean(dir))
		}
	}
}

func newOptions(opts []Option) options {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if o.limits.Entries == 0 {
		o.limits.Entries = 1_000_000
	}
	if o.limits.Bytes == 0 {
		o.limits.Bytes = 256 << 30
	}
	if o.limits.Ratio == 0 {
		o.limits.Ratio = 1000
	}
	return o
}
