package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Save writes the desired state to a file, "" for the one it was loaded from, as a
// configuration that can be loaded again; comments of the old file are lost. The file is
// whole or untouched at any instant, and keeps its owner and mode. What was saved to the
// director's own file is from then on what the file says.
func (d *Director) Save(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if path == "" {
		path = d.opt.Path
	}
	running := d.state.Snapshot()
	head := fmt.Sprintf("# Written by dirigo %s from its running state, %s.\n# What it replaced is gone, comments too; edit it and reload as any other.\n\n",
		d.opt.Version, time.Now().UTC().Format(time.RFC3339))
	if err := replaceFile(path, append([]byte(head), running.TOML()...)); err != nil {
		return fmt.Errorf("save the configuration: %w", err)
	}
	if sameFile(path, d.opt.Path) {
		d.file = running
	}
	d.log.Info("configuration saved", "file", path)
	return nil
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// replaceFile puts a new file in the place of an old one, by a temporary file beside it:
// only one that is on the disk whole takes its name. A symbolic link goes on leading there.
func replaceFile(path string, data []byte) (err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	mode := fs.FileMode(0o644)
	if old, serr := os.Stat(path); serr == nil {
		mode = old.Mode().Perm()
		if st, ok := old.Sys().(*syscall.Stat_t); ok {
			if err = f.Chown(int(st.Uid), int(st.Gid)); err != nil {
				return err
			}
		}
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	_ = f.Close() // it is on the disk
	// The name too, as far as the file system lets it be said.
	if dir, derr := os.Open(filepath.Dir(path)); derr == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}
