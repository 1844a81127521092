package probe

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/dirigo-lb/dirigo/health"
)

// file is good while a file is there, unless it says "0" or "down".
type file struct{ path string }

func (a file) ask(context.Context, *health.Result) error {
	b, err := head(a.path, 64)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(string(b))) {
	case "0", "down":
		return fail(health.WhyStatus, "%s says %s", a.path, quote(b))
	}
	return nil
}

// head is the beginning of a regular file, at most so many bytes of it.
func head(path string, most int64) ([]byte, error) {
	// Not blocked by a FIFO that nobody writes to.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, missing(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fail(health.WhyMissing, "%s is not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, most))
}

// missing tells a script or file that is not there, or not for us, from the director's own
// trouble.
func missing(err error) error {
	for _, kind := range []error{fs.ErrNotExist, fs.ErrPermission, exec.ErrNotFound, syscall.ENOTDIR, syscall.ENOEXEC} {
		if errors.Is(err, kind) {
			return fail(health.WhyMissing, "%v", err)
		}
	}
	return err
}
