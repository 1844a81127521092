package kernel

import (
	"fmt"
	"strconv"
	"strings"
)

// setSysctl is sysctl -w of a net.ipv4.vs.* name. The kernel's own names that mean
// nothing to a director without its sync daemons or netfilter are taken and ignored.
func (d *director) setSysctl(name, value string) error {
	name = strings.TrimPrefix(name, "net.ipv4.vs.")
	switch name {
	case "conntrack", "sync_version", "sync_threshold", "backup_only", "sync_ports":
		return nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", name, value, err)
	}
	if err := d.sysctl.Set(name, n); err != nil {
		return err
	}
	d.plane.SetSysctl(d.sysctl)
	d.plane.Publish()
	return nil
}

// getSysctl is the value of a name as sysctl(8) shows it.
func (d *director) getSysctl(name string) (string, error) {
	n, err := d.sysctl.Get(strings.TrimPrefix(name, "net.ipv4.vs."))
	return strconv.Itoa(n), err
}

// sysctl is sysctl -w NAME=VALUE or sysctl NAME.
func (sh *shell) sysctl(args []string, std stdio) (rc int, err error) {
	letters, words := options(args)
	if err := known(letters, "w"); err != nil || len(words) != 1 {
		return 1, fmt.Errorf("%v is not replayed", args)
	}
	name, value, set := strings.Cut(words[0], "=")
	if !set {
		value, err := sh.d.getSysctl(name)
		if err != nil {
			return 1, err // it says why the setting means nothing here
		}
		fmt.Fprintf(std.out, "%s = %s\n", name, value)
		return 0, nil
	}
	sh.changed = true
	if sh.d.setSysctl(name, value) != nil {
		fmt.Fprintf(std.err, "sysctl: setting key %q: Invalid argument\n", name)
		return 0, nil // as recorded
	}
	fmt.Fprintf(std.out, "%s = %s\n", name, value)
	return 0, nil
}
