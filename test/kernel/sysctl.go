package kernel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
)

const (
	sysctlPrefix = "net.ipv4.vs."
	// recordedQueue is what the recorded machine's memory made of sync_qlen_max.
	recordedQueue = "7903"
)

// setSysctl is sysctl -w of a net.ipv4.vs.* name.
func (d *director) setSysctl(name, value string) error {
	if err := d.sysctl.Set(strings.TrimPrefix(name, sysctlPrefix), value); err != nil {
		return err
	}
	d.plane.SetSysctl(d.sysctl)
	d.plane.Publish()
	return nil
}

// getSysctl is the value of a name as sysctl(8) shows it.
func (d *director) getSysctl(name string) (string, error) {
	return d.sysctl.Get(strings.TrimPrefix(name, sysctlPrefix))
}

// sysctl is sysctl [-w] NAME=VALUE, sysctl NAME or sysctl -a (procps 4.0.2, which ends
// with 0 also when the kernel refuses a value).
func (sh *shell) sysctl(args []string, std stdio) (rc int, err error) {
	letters, words := options(args)
	if err := known(letters, "wa"); err != nil {
		return 1, fmt.Errorf("%v is not replayed", args)
	}
	if strings.Contains(letters, "a") {
		for _, name := range conf.SysctlNames() {
			words = append(words, sysctlPrefix+name)
		}
	}
	for _, w := range words {
		name, value, set := strings.Cut(w, "=")
		if set {
			sh.changed = true
			err = sh.d.setSysctl(name, value)
		} else {
			value, err = sh.d.getSysctl(name)
		}
		switch {
		case errors.Is(err, conf.ErrNoSysctl):
			fmt.Fprintf(std.err, "sysctl: cannot stat /proc/sys/%s: No such file or directory\n", strings.ReplaceAll(name, ".", "/"))
			rc = 1
		case err != nil:
			fmt.Fprintf(std.err, "sysctl: setting key %q: Invalid argument\n", name)
		default:
			fmt.Fprintf(std.out, "%s = %s\n", name, value)
		}
	}
	return rc, nil
}
