package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "The running configuration: show it, compare it with the file, save it",
		Long: `The desired state of the running director: what its file said, and what commands (ipvsadm,
drain, sysctl, the API) have changed since. The two are kept apart: "config diff" shows what
commands changed and what a reload would do, "config save" makes both the file's.`,
	}
	cmd.AddCommand(configShowCommand(), configDiffCommand(), configSaveCommand())
	return cmd
}

func configShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the running state as a configuration file",
		Long: `Print the running state as a configuration file: what is not a default, in the form that
"dirigo run" and "dirigo check" take.`,
		Example: "  dirigo config show > dirigo.toml",
		Args:    cobra.NoArgs,
	}
	socket := controlFlag(cmd)
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		return api.NewClient(*socket).Stream(context.Background(), "/v1/config", c.OutOrStdout())
	}
	return cmd
}

func configDiffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Say what a reload would do",
		Long: `Say what a reload would do now, with the number of live connections that each change
touches, and what commands have changed against the file as it was last loaded. Nothing is
changed. The exit status is 1 if a reload would be refused.`,
		Example: "  dirigo config diff && dirigo reload",
		Args:    cobra.NoArgs,
	}
	socket := controlFlag(cmd)
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		var d api.ConfigDiff
		if err := api.NewClient(*socket).Get("/v1/config/diff", &d); err != nil {
			return err
		}
		printDiff(c.OutOrStdout(), &d)
		if d.Refused != "" {
			return fmt.Errorf("a reload would be refused: %s", d.Refused)
		}
		return nil
	}
	return cmd
}

// printDiff writes what a reload would do, then what commands did.
func printDiff(w io.Writer, d *api.ConfigDiff) {
	if len(d.Changes) == 0 && len(d.Conflicts) == 0 {
		fmt.Fprintf(w, "a reload of %s would change nothing\n", d.File)
	} else {
		fmt.Fprintf(w, "a reload of %s would\n", d.File)
	}
	for _, c := range d.Changes {
		fmt.Fprintf(w, "  %s", c.Change)
		if c.Connections > 0 {
			fmt.Fprintf(w, " (%d live connections: %s)", c.Connections, c.Effect)
		}
		fmt.Fprintln(w)
	}
	for _, c := range d.Conflicts {
		fmt.Fprintf(w, "  conflict: %s\n", c)
	}
	if len(d.Commands) > 0 {
		fmt.Fprintln(w, "commands have changed since it was loaded")
	}
	for _, c := range d.Commands {
		fmt.Fprintf(w, "  %s\n", c)
	}
}

func configSaveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "save",
		Short: "Write the running state to the director's file",
		Long: `Write the running state to the file that the director was started with. The old one is
replaced as a whole, or, if the disk is full or may not be written, left as it is. Comments
in it are lost. To write another file: "dirigo config show > FILE".`,
		Example: "  dirigo config save",
		Args:    cobra.NoArgs,
	}
	socket := controlFlag(cmd)
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		var s api.Saved
		if err := api.NewClient(*socket).Post("/v1/config/save", nil, &s); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "saved to %s\n", s.File)
		return nil
	}
	return cmd
}
