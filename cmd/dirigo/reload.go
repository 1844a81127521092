package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

func reloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make the running director read its file again",
		Long: `Make the running director read its configuration file again and take it over as a whole.
With a mistake in the file, or a change that needs a restart, nothing is changed and the
exit status is 1. Connections of what did not change are not touched.`,
		Example: "  dirigo reload",
		Args:    cobra.NoArgs,
	}
	socket := controlFlag(cmd)
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		var done api.ReloadReply
		if err := api.NewClient(*socket).Post("/v1/reload", nil, &done); err != nil {
			return err
		}
		changes := done.Changes
		if len(changes) == 0 {
			fmt.Fprintln(c.OutOrStdout(), "nothing has changed")
		}
		for _, ch := range changes {
			fmt.Fprintln(c.OutOrStdout(), ch)
		}
		return nil
	}
	return cmd
}
