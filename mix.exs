defmodule Mix.Tasks.Compile.FerretsNative do
  @moduledoc false
  # Builds the native library in front of the other compilers. It stands here and not in lib/, because a compiler must
  # exist before lib/ is compiled.
  use Mix.Task.Compiler

  @impl true
  def run(_args) do
    case System.cmd("sh", [Path.join(__DIR__, "native/build.sh")], into: IO.stream()) do
      {_, 0} ->
        # The first build made priv/ only now, after Mix had linked it into _build.
        Mix.Project.build_structure()
        {:ok, []}

      {_, _} ->
        {:error, []}
    end
  end
end

defmodule Ferrets.MixProject do
  use Mix.Project

  # Name, version and the rest stand in one place, for rebar3 and for Mix.
  {:ok, [{:application, name, properties}]} =
    :file.consult(Path.join(__DIR__, "src/ferrets.app.src"))

  @name name
  @properties properties
  @external_resource Path.join(__DIR__, "src/ferrets.app.src")

  def project do
    [
      app: @name,
      version: List.to_string(@properties[:vsn]),
      description: List.to_string(@properties[:description]),
      elixir: "~> 1.14",
      compilers: [:ferrets_native | Mix.compilers()],
      # Beside rebar3's _build/default and _build/test: both tools have a "test".
      build_path: "_build/mix",
      # A Hex package here, whatever its :only, would make every dependent need Hex.
      deps: []
    ]
  end

  def application do
    @properties
    |> Keyword.take([:mod, :registered, :env])
    |> Keyword.put(:extra_applications, @properties[:applications] -- [:kernel, :stdlib])
  end
end
