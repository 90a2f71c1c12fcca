# ruff: noqa: E501 - the rows of the table
"""The known traps of a distributed NER fine-tuning, each with the test that pins the right behaviour.

| trap | test |
|---|---|
| a tag a word laid on word pieces; [CLS] and padding labelled | test_features.py::test_the_first_piece_carries_the_tag_and_specials_none |
| padding trained as O | test_features.py::test_padding_has_no_label_and_no_attention |
| a string where a list of words belongs | test_readers.py::test_bad_jsonl_is_refused_with_file_and_line |
| labels longer than the cut sentence | test_features.py::test_a_long_sentence_is_cut_and_its_lost_words_are_known |
| most of the compute spent on padding | test_sampler.py::test_length_groups_waste_little_padding |
| an unknown tag in the middle of an epoch, a stray I- taken silently | test_readers.py::test_bad_conll_is_refused_with_file_and_line |
| another tag scheme read as IOB2 | test_schemes.py::test_every_scheme_reads_back_the_same_spans |
| no reader for the data | test_readers.py::test_conll_columns_separators_and_documents |
| shards mixed up with splits | test_splits.py::test_disjoint_exhaustive_and_a_function_of_the_seed |
| every rank trains on everything | test_sampler.py::test_shares_are_disjoint_exhaustive_and_equally_cut |
| the sampler pads with duplicates | test_sampler.py::test_every_sample_once_an_epoch_and_only_the_last_batch_is_short |
| evaluation pads with duplicates | test_parallel.py::test_scores_count_every_sentence_once |
| resume at another world size repeats and loses samples | test_resume.py::test_order_of_samples_goes_on_across_a_resize |
| the order depends on the number of ranks | test_sampler.py::test_order_is_the_same_at_1_2_and_3_ranks_and_across_a_resize |
| the same order in every epoch | test_sampler.py::test_epochs_and_seeds_differ |
| tokenised anew in each epoch, in the loop | test_parallel.py::test_tokenised_once |
| test text within train goes unnoticed | test_splits.py::test_leaks_between_splits_are_counted_whatever_the_case |
| sharding taken for something that changes the result | test_parallel.py::test_fsdp_at_two_ranks_gives_the_loss_of_one_rank |
| one flat unit instead of a unit a layer | test_parallel.py::test_each_layer_is_a_shard_of_its_own |
| optimizer built before sharding; parameters in no or two groups | test_optimizer.py::test_every_trainable_parameter_once_and_no_decay_on_vectors |
| unequal shards hang a sharded evaluation | test_parallel.py::test_scores_count_every_sentence_once |
| each rank reports its own loss | test_parallel.py::test_every_rank_reports_the_same_global_values |
| mean of the ranks' means | test_parallel.py::test_loss_is_divided_by_the_global_count_of_labelled_tokens |
| the last short batch weighs like a whole one | test_state.py::test_mean_loss_weighs_tokens_and_not_batches |
| no clipping, or by each rank's own norm, or refused over two meshes | test_parallel.py::test_norm_and_clipping_span_meshes |
| a NaN spreads to all ranks | test_train.py::test_a_nan_is_skipped_on_all_ranks_and_counted |
| no checkpoint, or one without the data's cursor | test_resume.py::test_resume_is_the_undisturbed_run_bit_for_bit |
| the global batch changes with the ranks | test_resume.py::test_any_number_of_ranks_resumes |
| runs that cannot be repeated | test_resume.py::test_resume_is_the_undisturbed_run_bit_for_bit |
| an optimizer that no longer exists, or only one | test_parallel.py::test_sgd_shards_like_adamw |
| decay on biases and norms | test_optimizer.py::test_every_trainable_parameter_once_and_no_decay_on_vectors |
| constant rate, fp32 only | test_optimizer.py::test_rate_rises_over_the_warm_up_and_never_is_zero |
| bf16 that is not bf16 | test_parallel.py::test_bf16_is_near_fp32_and_not_fp32 |
| the last epoch is shipped, not the best | test_train.py::test_the_best_weights_are_shipped_when_the_last_are_worse |
| each rank decides on early stopping for itself | test_train.py::test_early_stopping_is_decided_once_for_all_ranks |
| scores of words instead of entities | test_scores.py::test_entities_count_and_not_words |
| a score without its mode's name | test_scores.py::test_strict_and_default_differ_on_a_stray_inside_tag |
| lost words left out of the score | test_features.py::test_a_word_without_a_piece_is_lost_and_shifts_nothing |
| an exported model that says LABEL_0 | test_train.py::test_export_loads_in_a_pipeline_with_its_labels |

Traps of the backend and the device (NCCL on a CPU, one GPU for all ranks) need a GPU to show and are not here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

HERE = Path(__file__).parent
ROWS = [[cell.strip() for cell in row.split("|")[1:-1]] for row in (__doc__ or "").splitlines() if row.startswith("|")]


@pytest.mark.parametrize(("trap", "test"), ROWS[2:])
def test_the_test_is_there(trap, test):
    file, _, name = test.partition("::")
    functions = [node.name for node in ast.parse((HERE / file).read_text()).body if isinstance(node, ast.FunctionDef)]
    assert name in functions


def test_the_table_is_whole():
    assert len(ROWS) > 35
