defmodule Consumer.MixProject do
  use Mix.Project

  def project do
    [
      app: :consumer,
      version: "0.1.0",
      elixir: "~> 1.14",
      deps: [ferrets()],
      # In an umbrella these come from its root.
      releases: [consumer: []]
    ]
  end

  def application, do: [extra_applications: []]

  # A user writes the repository's address here; the tests pass a clone's, or a folder.
  defp ferrets do
    case System.fetch_env!("FERRETS") do
      "file:" <> _ = url -> {:ferrets, git: url, branch: "main"}
      path -> {:ferrets, path: path}
    end
  end
end
