package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

// sysctlPrefix stands before each name in what sysctl(8) prints; it may be left out in
// what it is asked.
const sysctlPrefix = "net.ipv4.vs."

func sysctlCommand() *cobra.Command {
	var all, write bool
	cmd := &cobra.Command{
		Use:   "sysctl [-a] [-w] [net.ipv4.vs.]NAME[=VALUE]...",
		Short: "Read and change the running director's net.ipv4.vs settings",
		Long: `Read and change the running director's net.ipv4.vs settings, with the output, messages and
exit codes of sysctl(8). A setting of which nothing comes in this director is taken as a
kernel would take it, with a warning on standard error. A change holds until the director
stops or reads its file again.`,
		Example: "  dirigo sysctl -a\n  dirigo sysctl net.ipv4.vs.expire_nodest_conn\n  dirigo sysctl -w drop_entry=1",
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "print all settings")
	cmd.Flags().BoolVarP(&write, "write", "w", false, "take no name without a value")
	socket := controlFlag(cmd)
	cmd.RunE = func(c *cobra.Command, args []string) error {
		s := sysctl{client: api.NewClient(*socket), out: c.OutOrStdout(), err: c.ErrOrStderr(), write: write}
		if !all && len(args) == 0 {
			return errors.New("sysctl: no variables specified; see dirigo sysctl --help")
		}
		code, err := s.run(all, args)
		if err == nil && code != 0 {
			os.Exit(code)
		}
		return err
	}
	return cmd
}

// sysctl is one call of the command.
type sysctl struct {
	client   *api.Client
	out, err io.Writer
	write    bool
}

// run reads and changes settings in the order of the arguments and returns the exit code,
// which as sysctl(8)'s is 1 for a name that there is not, and 0 for a value that is refused
// (procps 4.0.2).
func (s *sysctl) run(all bool, args []string) (code int, err error) {
	if all {
		var list api.Sysctls
		if err := s.client.Get("/v1/sysctl", &list); err != nil {
			return 1, err
		}
		for _, one := range list.Settings {
			s.print(&one)
		}
	}
	for _, arg := range args {
		name, value, set := strings.Cut(arg, "=")
		name = strings.TrimPrefix(strings.ReplaceAll(strings.TrimSpace(name), "/", "."), sysctlPrefix)
		if s.write && !set {
			fmt.Fprintf(s.err, "sysctl: %q must be of the form name=value\n", arg)
			code = 1
			continue
		}
		one, err := s.one(name, strings.TrimSpace(value), set)
		var refused *api.RefusedError
		switch {
		case err == nil:
			if set { // sysctl(8) repeats what it wrote
				one.Value = strings.TrimSpace(value)
			}
			s.print(&one)
			if set && one.Warning != "" {
				fmt.Fprintf(s.err, "dirigo: warning: %s%s has no effect: %s\n", sysctlPrefix, name, one.Warning)
			}
		case errors.As(err, &refused) && refused.Status == 404:
			fmt.Fprintf(s.err, "sysctl: cannot stat /proc/sys/%s: No such file or directory\n", strings.ReplaceAll(sysctlPrefix+name, ".", "/"))
			code = 1
		case errors.As(err, &refused) && refused.Status == 422:
			fmt.Fprintf(s.err, "sysctl: setting key %q: Invalid argument\n", sysctlPrefix+name)
		default:
			return 1, err
		}
	}
	return code, nil
}

// one reads a setting, or changes it and reads what came of it.
func (s *sysctl) one(name, value string, set bool) (one api.Sysctl, err error) {
	path := "/v1/sysctl/" + url.PathEscape(name)
	if set {
		err = s.client.Put(path, api.SysctlValue{Value: value}, &one)
	} else {
		err = s.client.Get(path, &one)
	}
	return one, err
}

func (s *sysctl) print(one *api.Sysctl) {
	fmt.Fprintf(s.out, "%s%s = %s\n", sysctlPrefix, one.Name, one.Value)
}
