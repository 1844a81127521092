package realserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Run makes the host a real server, says so on out ending in a line "ready", serves
// until ctx ends, and takes everything back, after an error too. What comes by show
// makes it print its counters.
func Run(ctx context.Context, c Config, show <-chan os.Signal, out io.Writer) (err error) {
	if err := c.Validate(); err != nil {
		return err
	}
	st, err := openState(c.State, true)
	if err != nil {
		return err
	}
	if len(st.left.Changes) > 0 {
		fmt.Fprintf(out, "process %d left something behind:\n", st.left.PID)
	}
	// A change that cannot be taken back stays in the file, for --undo.
	changes := st.left.Changes
	end := func() error {
		if err := undoAll(changes, out); err != nil {
			return errors.Join(err, st.file.Close())
		}
		return st.remove()
	}
	defer func() { err = explain(errors.Join(err, end())) }()
	if err := undoAll(changes, out); err != nil {
		return err
	}
	changes = nil

	v, err := look(&c)
	if err != nil {
		return err
	}
	planned, err := plan(&c, v)
	if err != nil {
		return err
	}
	if err := st.write(planned); err != nil {
		return err
	}
	for i := range planned {
		if err := planned[i].apply(); err != nil {
			return err
		}
		changes = planned[:i+1]
		fmt.Fprintf(out, "set    %v\n", &planned[i])
	}
	if !c.Decap {
		fmt.Fprintln(out, "ready")
		<-ctx.Done()
		return nil
	}
	d, err := openDecapsulator(&c, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	fmt.Fprintln(out, "ready")
	err = d.run(ctx, show, out)
	d.print(out)
	return err
}

// Undo takes back what a killed process left.
func Undo(c Config, out io.Writer) error {
	st, err := openState(c.State, false)
	if errors.Is(err, errNoState) {
		fmt.Fprintln(out, errNoState)
		return nil
	}
	if err != nil {
		return err
	}
	if err := undoAll(st.left.Changes, out); err != nil {
		return explain(errors.Join(err, st.file.Close()))
	}
	return st.remove()
}

// undoAll takes changes back, the last first, as far as it can.
func undoAll(changes []Change, out io.Writer) (err error) {
	for _, c := range slices.Backward(changes) {
		note, e := c.undo()
		switch {
		case e != nil:
			err = errors.Join(err, e)
		case note != "":
			fmt.Fprintf(out, "note   %s\n", note)
		default:
			fmt.Fprintf(out, "undone %v\n", &c)
		}
	}
	return err
}

// Print writes the commands that do the same, and those that undo it, and changes
// nothing.
func Print(c Config, out io.Writer) error {
	if err := c.Validate(); err != nil {
		return err
	}
	v, err := look(&c)
	if err != nil {
		return err
	}
	changes, err := plan(&c, v)
	if err != nil {
		return err
	}
	do, undo := []string{}, []string{}
	for _, ch := range changes {
		do, undo = append(do, ch.Shell()), append(undo, ch.UndoShell())
	}
	if c.Decap {
		kernelDecap(&c, v, func(d, u string) { do, undo = append(do, d), append(undo, u) })
	}
	fmt.Fprintln(out, "# what this real server needs")
	if len(do) == 0 {
		fmt.Fprintln(out, "# nothing: all is there")
	}
	for _, line := range do {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out, "\n# to undo it")
	for _, line := range slices.Backward(undo) {
		if line != "" {
			fmt.Fprintln(out, line)
		}
	}
	return nil
}

// kernelDecap lists how the kernel's own tunnel modules decapsulate. The greater of
// rp_filter's two values counts, and the source of an inner packet, the client, is not
// behind the tunnel: both must be 0.
func kernelDecap(c *Config, v *view, add func(do, undo string)) {
	add("# the kernel's own modules in place of --decap", "")
	if all, err := v.sysctl("ipv4/conf/all/rp_filter"); err == nil && all != "0" && c.has4() {
		add(setSysctl("ipv4/conf/all/rp_filter", "0"), setSysctl("ipv4/conf/all/rp_filter", all))
	}
	device := func(module, dev string) {
		add("modprobe "+module, "modprobe -r "+module)
		add(setSysctl("ipv4/conf/"+dev+"/rp_filter", "0"), "")
		add("ip link set "+dev+" up", "ip link set "+dev+" down")
	}
	device("ipip", "tunl0")
	device("ip_gre", "gre0")
	if c.has6() {
		device("sit", "sit0")
	}
	if c.GUEPort != 0 {
		add("modprobe fou", "modprobe -r fou")
		add(fmt.Sprintf("ip fou add port %d gue", c.GUEPort), fmt.Sprintf("ip fou del port %d gue", c.GUEPort))
	}
}

// explain adds what a refusal by the kernel means here.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (root is needed, or CAP_NET_ADMIN and CAP_NET_RAW)", err)
	}
	return err
}
