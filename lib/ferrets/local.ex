defmodule Ferrets.Local do
  @moduledoc """
  Writes to this node's replica alone, for `:handle_down` and for repair. The Erlang module is `:ferrets_local`, whose
  header says what becomes of them when replicas are compared.
  """

  @doc """
  Inserts a record or a list of records.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_local)
      iex> Ferrets.Local.insert(:doc_local, {"anna", 1})
      true
      iex> Ferrets.Local.delete(:doc_local, "anna")
      true
      iex> Ferrets.size(:doc_local)
      0
  """
  @spec insert(Ferrets.table(), tuple | [tuple]) :: true
  defdelegate insert(table, records), to: :ferrets_local

  @doc "Deletes what is under a key here."
  @spec delete(Ferrets.table(), Ferrets.key()) :: true
  defdelegate delete(table, key), to: :ferrets_local

  @doc "Deletes a record if it is here as it is."
  @spec delete_object(Ferrets.table(), tuple) :: true
  defdelegate delete_object(table, record), to: :ferrets_local

  @doc "Deletes all records here."
  @spec delete_all_objects(Ferrets.table()) :: true
  defdelegate delete_all_objects(table), to: :ferrets_local

  @doc """
  Deletes the records that match a pattern here.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_local_match)
      iex> Ferrets.insert_many(:doc_local_match, a: 1, b: 2)
      iex> Ferrets.Local.match_delete(:doc_local_match, {:_, 1})
      true
      iex> Ferrets.tab2list(:doc_local_match)
      [b: 2]
  """
  @spec match_delete(Ferrets.table(), Ferrets.pattern()) :: true
  defdelegate match_delete(table, pattern), to: :ferrets_local

  @doc "Deletes the records here for which a match specification gives `true`, and returns how many there were."
  @spec select_delete(Ferrets.table(), Ferrets.match_spec()) :: non_neg_integer
  defdelegate select_delete(table, match_spec), to: :ferrets_local

  @doc "Deletes the records that were written on a node, and returns how many there were."
  @spec delete_owned(Ferrets.table(), node) :: non_neg_integer
  defdelegate delete_owned(table, node), to: :ferrets_local
end
