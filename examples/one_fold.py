"""One fold of leave-one-subject-out by hand: what `orchestration.run_loso` does for every subject.

python examples/one_fold.py flows/mine teacher.safetensors
"""

import copy
import sys

import torch

import dadnet

flows, teacher = sys.argv[1:3]
epochs, size, batch_size = (int(word) for word in (sys.argv[3:6] or (30, 56, 16)))
torch.manual_seed(0)

# The clips: flows (N, 2, S, S) in pixels, a class each, a subject each.
store = dadnet.load_flow_store(flows)
data = dadnet.MicroExpressionDataset.from_store(store, "3class", size)

# The first fold: one subject to test; of the others some only choose the epoch.
folds = dadnet.make_folds(data.clips, dadnet.DataConfig(protocol="loso"), seed=0)
fold = folds[0]
fit, val, test = data.rows(fold.fit), data.rows(fold.val), data.rows(fold.test)
print(f"test {fold.name}: {len(fit)} clips to fit, {len(val)} to choose the epoch")

# The student beside a frozen teacher, which has never seen these subjects.
sizes = {"micro_model_size": "ultralight", "input_size": size, "drop_path_rate": 0.0}
model = dadnet.get_dad_net(len(data.classes), macro_weights_path=teacher, **sizes)
optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
augment = dadnet.OpticalFlowAugmentation(rotation=5.0, scale=(0.95, 1.05))


def predict(rows: torch.Tensor) -> torch.Tensor:
    """Class of each clip."""
    with torch.no_grad():
        return model.eval()(dadnet.normalise(data.flows[rows].float())).logits.argmax(1)


best, best_state = -1.0, model.state_dict()
for epoch in range(1, epochs + 1):
    model.train()
    for rows in fit[torch.randperm(len(fit))].split(batch_size):
        output = model(dadnet.normalise(augment(data.flows[rows].float())))
        loss = dadnet.dad_net_loss(output, data.labels[rows], alignment_weight=0.5)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
    score = dadnet.uf1(dadnet.confusion(data.labels[val], predict(val), len(data.classes)))
    if score > best:  # the test subject has no say in it
        best, best_state = score, copy.deepcopy(model.state_dict())
        print(f"epoch {epoch}: loss {loss.total.item():.3f}, val UF1 {score:.3f}")

# Now, and only once, the test subject. A score needs all folds: counts are added, not averaged.
model.load_state_dict(best_state)
for row, predicted in zip(test.tolist(), predict(test).tolist(), strict=True):
    clip = data.clips.iloc[row]
    print(f"{clip['clip_id']}: {clip['label']}, predicted {data.classes[predicted]}")
