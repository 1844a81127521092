package control

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/conf"
)

// What was saved can be loaded, has the old file's mode and owner, and is what the file
// says from then on. A link to the file stays one.
func TestSave(t *testing.T) {
	d, _ := fileDirector(t, fileText)
	real := d.opt.Path
	if err := os.Chown(real, 1234, 4321); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.toml")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	d.opt.Path = link
	if _, err := d.Change([]conf.Change{conf.EditServer{Key: tcpKey("10.0.0.100"), Server: natServer("10.0.1.2", 0)}}, true); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(""); err != nil {
		t.Fatal(err)
	}
	got, err := conf.Load(real)
	if err != nil || len(conf.Diff(got, d.Running())) > 0 || len(conf.Diff(d.FromFile(), d.Running())) > 0 {
		t.Errorf("loaded again: %v, %v", err, conf.Diff(got, d.Running()))
	}
	st, err := os.Stat(real)
	if err != nil {
		t.Fatal(err)
	}
	if sys := st.Sys().(*syscall.Stat_t); st.Mode() != 0o640 || sys.Uid != 1234 || sys.Gid != 4321 {
		t.Errorf("mode %v, owner %d, group %d", st.Mode(), sys.Uid, sys.Gid)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: %v, %v", st.Mode(), err)
	}
	text, _ := os.ReadFile(real)
	if !strings.HasPrefix(string(text), "# Written by dirigo") {
		t.Errorf("it begins %.40q", text)
	}
	if diff, err := d.ConfigDiff(); err != nil || len(diff.Commands)+len(diff.Changes)+len(diff.Conflicts) > 0 {
		t.Errorf("diff after saving: %+v, %v", diff, err)
	}
	if err := d.Save(filepath.Join(t.TempDir(), "none", "x.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("into no folder: %v", err)
	}
}

// A full disk leaves the old file as it was, and nothing beside it.
func TestSaveOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	d, _ := fileDirector(t, fileText)
	d.opt.Path = filepath.Join(dir, "dirigo.toml")
	if err := os.WriteFile(d.opt.Path, []byte(fileText), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Change(bigChanges(0, 500, 10), true); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(""); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want no space left", err)
	}
	if text, err := os.ReadFile(d.opt.Path); err != nil || string(text) != fileText {
		t.Errorf("the file is %d bytes, %v", len(text), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left beside it: %v", left)
	}
	if len(conf.Diff(d.FromFile(), d.Running())) == 0 {
		t.Error("it counts as saved")
	}
}
