package lifecycle

// Names for journal_dir_test.go.
type (
	DirFS   = dirFS
	DirFile = dirFile
)

// OSFS returns the real file system.
func OSFS() DirFS { return osFS{} }

// NewDirJournalOn returns a journal on another file system.
func NewDirJournalOn(fs DirFS, path string) *DirJournal { return &DirJournal{path: path, fs: fs} }

// Die does what the kernel does when the process of j dies.
func (j *DirJournal) Die() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for run, l := range j.held {
		l.mu.Lock()
		_ = l.file.Close()
		_ = l.lock.Close()
		l.file, l.lock = nil, nil
		l.mu.Unlock()
		delete(j.held, run)
	}
}

// ParseRecords decodes a journal file.
func ParseRecords(run string, data []byte) ([]Record, int64, error) {
	return parseRecords("file", run, data)
}

// EncodeLine returns v as a line of a journal file.
func EncodeLine(v any) ([]byte, error) { return encodeLine(v) }
